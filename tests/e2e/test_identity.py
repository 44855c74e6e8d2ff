#!/usr/bin/env python3
"""The store behind a mount is another one: the next service of its list, a data directory that was
replaced, a copy that was restored. What was acknowledged stays where it was, what is not goes to the
queue of its name, and nothing to any other."""

import errno
import os
import shutil

from harness import QUEUEFS, equal, eventually, fails, main, sh, timeout

QUEUES = ("orders", "refunds", "audit")


def mount_of_both(t, first, second, settings=""):
    """A mount of the first, and of the second where that is away."""
    mount = t.mount("service: {address: [%s, %s]}\n%s" % (first.address, second.address, settings),
                    start=False)
    mount.command = lambda *more: [QUEUEFS, "-f", *mount.args, *more, mount.path]
    mount.start()
    return mount


def queues(mount, names):
    for name in names:
        mount.mkdir(name)


def service_with(t, name, names):
    """A queue service that has made these queues in this order."""
    service = t.service(name=name)
    maker = t.mount_of(service.address, "maker-" + name)
    queues(maker, names)
    equal(maker.unmount(), 0, "the end of the mount that made the queues")
    return service


def contents(t, service, names=QUEUES):
    """What lies in each queue of a service, as another mount finds it."""
    mount = t.mount_of(service.address, "look-%d" % len(t.mounts))
    found = {name: mount.get(name) for name in names if os.path.exists(mount.at(name))}
    equal(mount.unmount(), 0, "the end of the mount that looked")
    return found


def follows(mount, what="another store"):
    eventually(lambda: "the queue service has" in mount.log(), 15, what)


def put_when_there(mount, queue, data):
    """A line and its acknowledgement, however long the service is away."""
    mount.put(queue, data)
    mount.flush()


def start_again_with_another(t, service, names):
    """The same address, and another data directory, in which these queues were made before."""
    other = service_with(t, "other", names)
    other.stop()
    service.stop()
    shutil.move(service.data, service.data + "-before")
    shutil.move(other.data, service.data)
    service.start()


@timeout(60)
def test_failover_goes_by_name(t):
    first = service_with(t, "first", ("orders", "refunds"))
    second = service_with(t, "second", ("refunds", "orders"))
    mount = mount_of_both(t, first, second)
    mount.put("orders", b"acknowledged by the first\n")
    mount.flush()
    first.kill()
    put_when_there(mount, "orders", b"order\n")
    put_when_there(mount, "refunds", b"refund\n")
    equal(mount.stats()["duplicates"], 0, "what was sent twice")
    equal(contents(t, second), {"orders": b"order\n", "refunds": b"refund\n"}, "the second store")
    equal(mount.log().count("the queue service has store"), 1, "lines in the log: " + mount.log())
    first.start()
    equal(contents(t, first)["orders"], b"acknowledged by the first\n", "the first store")


@timeout(60)
def test_open_writers_and_what_is_buffered_go_on_by_name(t):
    first = service_with(t, "first", ("orders", "refunds", "audit"))
    second = service_with(t, "second", ("audit", "refunds", "orders"))
    mount = mount_of_both(t, first, second)
    writers = {name: mount.open_in(name) for name in QUEUES}
    for name in QUEUES:
        writers[name].write(b"first %s\n" % name.encode())
        writers[name].sync()
    second.stop()
    first.kill()
    for _ in range(50):
        for name in QUEUES:
            writers[name].write(b"second %s\n" % name.encode())
    second.start()
    mount.flush()
    for name in QUEUES:
        writers[name].write(b"then %s\n" % name.encode())
        writers[name].sync()
        writers[name].close()
    expected = {name: b"second %s\n" % name.encode() * 50 + b"then %s\n" % name.encode()
                for name in QUEUES}
    equal(contents(t, second), expected, "the second store")
    equal(mount.stats()["put_errors"], 0, "put_errors")


@timeout(60)
def test_queue_that_the_other_store_lacks_is_gone(t):
    first = service_with(t, "first", ("refunds", "orders"))
    second = service_with(t, "second", ("orders",))
    mount = mount_of_both(t, first, second)
    writer = mount.open_in("refunds")
    writer.write(b"acknowledged\n")
    writer.sync()
    second.stop()
    first.kill()
    writer.write(b"one\ntwo\n")
    second.start()
    follows(mount)
    eventually(lambda: "refunds" not in os.listdir(mount.path), 5, "the queue's end")
    fails(errno.ENOENT, writer.sync)
    fails(errno.ENOENT, writer.write, b"three\n")
    writer.close()
    mount.mkdir("refunds")
    put_when_there(mount, "refunds", b"in the new one\n")
    equal(contents(t, second), {"orders": b"", "refunds": b"in the new one\n"}, "the second store")


@timeout(60)
def test_queues_of_the_mounts_own_file_are_made_there(t):
    first, second = t.service(name="first"), t.service(name="second")
    mount = mount_of_both(t, first, second, "queues: {orders: {}, refunds: {}}\n")
    mount.put("orders", b"first\n")
    mount.flush()
    second.stop()
    first.kill()
    mount.put("orders", b"kept\n")
    second.start()
    mount.flush()
    put_when_there(mount, "refunds", b"and then\n")
    equal(contents(t, second), {"orders": b"kept\n", "refunds": b"and then\n"}, "the second store")


@timeout(60)
def test_what_was_lent_by_the_first_store_is_void(t):
    first = service_with(t, "first", ("refunds", "orders"))
    second = service_with(t, "second", ("orders", "refunds"))
    filler = t.mount_of(second.address, "filler")
    filler.put("orders", b"theirs\n")
    filler.put("refunds", b"not to be touched\n")
    filler.flush()
    equal(filler.unmount(), 0, "the end of the mount that filled the other")
    mount = mount_of_both(t, first, second)
    mount.put("orders", b"claimed\nread\nfetched ahead\n")
    mount.flush()
    claim = mount.get("orders", "claim").decode().strip()
    reader = mount.open_out("orders")
    equal(reader.read(4096), b"read\n", "read from the first")
    waiting = mount.open_out("refunds", "next@forever")
    first.kill()
    follows(mount)
    assert not os.path.exists(mount.at("orders", "leased", claim)), "a claim of the first store"
    fails(errno.ENOENT, os.unlink, mount.at("orders", "leased", claim))
    equal(reader.read(4096), b"theirs\n", "read from the second")
    reader.close()
    equal(waiting.read(4096), b"not to be touched\n", "what a waiting reader gets")
    waiting.close()
    assert mount.stats("orders")["acks_late"] >= 1, mount.stats("orders")
    first.start()
    # The claim's lease runs out by itself.
    eventually(lambda: b"claimed" in contents(t, first)["orders"], 40, "the item that was claimed")


@timeout(60)
def test_replaced_data_directory(t):
    service = service_with(t, "queued", ("orders", "refunds"))
    mount = t.mount_of(service.address)
    writer = mount.open_in("orders")
    writer.write(b"before\n")
    writer.sync()
    was = mount.stats().get("store_id", "")
    equal(len(was), 32, "the length of a store's id")
    start_again_with_another(t, service, ("refunds", "orders"))
    writer.write(b"after\n")
    writer.sync()
    writer.close()
    assert mount.stats().get("store_id", "") != was, "the store's id"
    assert was in mount.log() and mount.stats().get("store_id", "") in mount.log(), mount.log()
    equal(contents(t, service), {"orders": b"after\n", "refunds": b""}, "the new store")


@timeout(90)
def test_restored_copy(t):
    service = service_with(t, "queued", ("refunds", "orders"))
    mount = t.mount_of(service.address)
    writer = mount.open_in("orders")
    writer.write(b"in the copy\n")
    writer.sync()
    service.stop()
    shutil.copytree(service.data, service.data + "-copy")
    service.start()
    # Queues made since have other numbers in what comes after the copy.
    eventually(lambda: mount.stats()["connected"] == 1, 5, "the service after its restart")
    mount.mkdir("late")
    writer.write(b"acknowledged and lost\n")
    writer.sync()
    mount.put("late", b"lost too\n")
    mount.flush()
    was = mount.stats().get("store_id", "")
    service.stop()
    shutil.rmtree(service.data)
    shutil.move(service.data + "-copy", service.data)
    service.start()
    maker = t.mount_of(service.address, "maker-since")
    maker.mkdir("audit")  # has the number that `late` had
    equal(maker.unmount(), 0, "the end of the mount that made a queue")
    writer.write(b"after\n")
    writer.sync()
    writer.close()
    follows(mount)
    equal(mount.stats().get("store_id", ""), was, "the store's id")
    assert "older copy of store " + was in mount.log(), mount.log()
    eventually(lambda: "late" not in os.listdir(mount.path), 5, "the end of the queue it lacks")
    equal(contents(t, service), {"orders": b"in the copy\nafter\n", "refunds": b"", "audit": b""},
          "the restored store")


@timeout(60)
def test_mere_restart_is_no_other_store(t):
    service = service_with(t, "queued", ("orders",))
    mount = t.mount_of(service.address)
    writer = mount.open_in("orders")
    writer.write(b"claimed\nbefore\n")
    writer.sync()
    claim = mount.get("orders", "claim").decode().strip()
    was = mount.stats().get("store_id", "")
    for round_number in range(4):
        if round_number % 2:
            service.stop()
        else:
            service.kill()
        writer.write(b"round %d\n" % round_number)
        service.start()
        writer.sync()
    os.unlink(mount.at("orders", "leased", claim))
    mount.flush()
    writer.close()
    equal(mount.stats().get("store_id", ""), was, "the store's id")
    equal(mount.stats("orders")["acks_late"], 0, "acks_late")
    assert "the queue service has" not in mount.log(), mount.log()
    equal(contents(t, service, ("orders",))["orders"],
          b"before\n" + b"".join(b"round %d\n" % i for i in range(4)), "all that was put, once")


@timeout(60)
def test_shell_script_across_a_failover(t):
    """The issue's own words."""
    first = service_with(t, "first", ("orders", "refunds"))
    second = service_with(t, "second", ("refunds", "orders"))
    mount = mount_of_both(t, first, second)
    mount.out("echo one >> orders/in; touch flush")
    first.kill()
    done = sh("echo order >> orders/in; touch flush", cwd=mount.path)
    equal(done.returncode, 0, "the status of touch flush")
    equal(contents(t, second), {"orders": b"order\n", "refunds": b""}, "where the order lies")


if __name__ == "__main__":
    main()
