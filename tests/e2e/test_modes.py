#!/usr/bin/env python3
"""Who may do what: a queue's mode, as another user meets it."""

import errno
import os
import pwd
import stat

from harness import Fd, Skip, equal, fails, main


def other_user():
    if os.geteuid() != 0:
        raise Skip("only root can act as another user")
    return pwd.getpwnam("nobody")


def shared(t, may_make="owner"):
    """A mount that other users reach, with the queue `jobs` of mode 0600."""
    user = other_user()
    os.chmod(t.directory, 0o755)
    m = t.mount("mount: {allow_other: true, may_make: %s}\n" % may_make)
    m.mkdir("jobs")
    return m, user


def as_user(user, function, groups=()):
    """Run function in a child that is this user; its failure is ours."""
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups(list(groups))
            os.setgid(user.pw_gid)
            os.setuid(user.pw_uid)
            function()
        except BaseException as error:
            os.write(writing, repr(error).encode())
            os._exit(1)
        os._exit(0)
    os.close(writing)
    message = os.read(reading, 4096).decode()
    os.close(reading)
    equal(os.waitpid(pid, 0)[1], 0, message)


def reads(path):
    with Fd(path, os.O_RDONLY) as file:
        return file.read_all()


def writes(path, data=b"x\n"):
    with Fd(path, os.O_WRONLY) as file:
        return file.write(data)


def touch(path):
    os.utime(path)


def test_a_new_queue_is_its_makers_and_nobody_elses(t):
    m, user = shared(t)
    status = os.stat(m.at("jobs"))
    equal((status.st_uid, status.st_gid), (0, 0), "owner")
    equal(status.st_mode & 0o666, 0o600, "mode")

    def body():
        for name in ("out", "next", "claim", "stats", "config", "out@3", "claim@3"):
            fails(errno.EACCES, reads, m.at("jobs", name))
        for name in ("ready", "leased", "dead"):
            fails(errno.EACCES, os.listdir, m.at("jobs", name))
        for name in ("in", "purge", "config", "flush"):
            fails(errno.EACCES, writes, m.at("jobs", name))
        fails(errno.EPERM, os.rmdir, m.at("jobs"))
        fails(errno.EPERM, os.chmod, m.at("jobs"), 0o666)

    as_user(user, body)
    equal(m.get("jobs"), b"")


def test_w_is_put_only(t):
    m, user = shared(t)
    os.chmod(m.at("jobs"), 0o622)

    def body():
        writes(m.at("jobs/in"))
        touch(m.at("jobs/flush"))
        reads(m.at("jobs/stats"))
        for name in ("out", "next", "claim"):
            fails(errno.EACCES, reads, m.at("jobs", name))
        for name in ("ready", "leased", "dead"):
            fails(errno.EACCES, os.listdir, m.at("jobs", name))
        fails(errno.EACCES, writes, m.at("jobs/config"))
        fails(errno.EACCES, writes, m.at("jobs/purge"), b"jobs\n")

    as_user(user, body)
    equal(m.get("jobs"), b"x\n")


def test_r_is_get_only(t):
    m, user = shared(t)
    os.chmod(m.at("jobs"), 0o644)
    m.put("jobs", b"a\nb\n")

    def body():
        equal(reads(m.at("jobs/next")), b"a\n")
        equal(reads(m.at("jobs/out")), b"b\n")
        reads(m.at("jobs/stats"))
        fails(errno.EACCES, writes, m.at("jobs/in"))

    as_user(user, body)


def test_r_is_to_look_claim_move_and_remove(t):
    m, user = shared(t)
    os.chmod(m.at("jobs"), 0o644)
    m.put("jobs", b"a\nb\nc\nd\n")

    def body():
        dropped, moved = (reads(m.at("jobs/claim")).decode().strip() for _ in range(2))
        equal(reads(m.at("jobs/leased", dropped)), b"a")
        touch(m.at("jobs/leased", dropped))
        os.unlink(m.at("jobs/leased", dropped))
        os.rename(m.at("jobs/leased", moved), m.at("jobs/dead", moved))
        equal(reads(m.at("jobs/dead", moved)), b"b")
        os.rename(m.at("jobs/dead", moved), m.at("jobs/ready", moved))
        waiting = os.listdir(m.at("jobs/ready"))
        equal(len(waiting), 3, "ready")
        equal(waiting[0], moved, "the first of ready")
        os.unlink(m.at("jobs/ready", waiting[1]))
        os.rename(m.at("jobs/ready", waiting[2]), m.at("jobs/leased", waiting[2]))
        equal(reads(m.at("jobs/leased", waiting[2])), b"d")

    as_user(user, body)
    equal(m.get("jobs"), b"b\n")


def test_another_user_gets_to_no_item(t):
    m, user = shared(t)
    os.chmod(m.at("jobs"), 0o622)
    m.put("jobs", b"a\nb\n")
    item, other = m.get("jobs", "claim").decode().strip(), os.listdir(m.at("jobs/ready"))[0]

    def body():
        for path in (m.at("jobs/leased", item), m.at("jobs/ready", other)):
            fails(errno.EACCES, os.stat, path)
            fails(errno.EACCES, os.unlink, path)
        fails(errno.EACCES, os.rename, m.at("jobs/leased", item), m.at("jobs/ready", item))

    as_user(user, body)
    equal(os.listdir(m.at("jobs/leased")), [item], "leased")


def test_only_who_mounts_makes_queues(t):
    m, user = shared(t)
    as_user(user, lambda: fails(errno.EACCES, os.mkdir, m.at("theirs")))
    equal("theirs" in os.listdir(m.path), False, "whether it is there")


def test_who_has_been_given_a_queue_removes_it(t):
    m, user = shared(t)
    m.mkdir("theirs")
    os.chown(m.at("theirs"), user.pw_uid, user.pw_gid)

    def body():
        fails(errno.EPERM, os.rmdir, m.at("jobs"))
        os.rmdir(m.at("theirs"))
        fails(errno.EACCES, os.mkdir, m.at("theirs"))

    as_user(user, body)
    equal("theirs" in os.listdir(m.path), False, "whether it is there")


def test_mkdir_as_another_user_makes_it_theirs(t):
    m, user = shared(t, "all")
    equal(stat.S_IMODE(os.stat(m.path).st_mode), 0o1777, "mode")
    as_user(user, lambda: fails(errno.EPERM, os.rmdir, m.at("jobs")))  # sticky, as /tmp
    try:
        as_user(user, lambda: os.mkdir(m.at("theirs")))
    except AssertionError as error:
        raise AssertionError("mkdir as %s: %s" % (user.pw_name, error)) from error
    status = os.stat(m.at("theirs"))
    equal((status.st_uid, status.st_gid), (user.pw_uid, user.pw_gid), "owner")

    def body():
        writes(m.at("theirs/in"))
        equal(reads(m.at("theirs/out")), b"x\n")
        writes(m.at("theirs/config"), b"batch_size: 7\n")
        os.chmod(m.at("theirs"), 0o640)
        writes(m.at("theirs/in"))
        writes(m.at("theirs/purge"), b"theirs\n")
        os.rmdir(m.at("theirs"))

    as_user(user, body)


def test_chmod_and_chown_are_kept(t):
    m, user = shared(t)
    os.chmod(m.at("jobs"), 0o660)
    os.chown(m.at("jobs"), user.pw_uid, user.pw_gid)
    m.restart()
    status = os.stat(m.at("jobs"))
    equal((status.st_uid, status.st_gid), (user.pw_uid, user.pw_gid), "owner")
    equal(status.st_mode & 0o666, 0o660, "mode")
    config = m.out("cat jobs/config")
    assert b"mode: 0660" in config, config
    as_user(user, lambda: writes(m.at("jobs/in")))
    equal(m.get("jobs"), b"x\n")


def test_mode_by_config(t):
    m, user = shared(t)
    m.configure("jobs", mode="0666")
    equal(os.stat(m.at("jobs")).st_mode & 0o666, 0o666, "mode")
    as_user(user, lambda: writes(m.at("jobs/in")))
    m.configure("jobs", mode="0600")
    as_user(user, lambda: fails(errno.EACCES, writes, m.at("jobs/in")))
    equal(m.get("jobs"), b"x\n")


def test_only_root_gives_a_queue_away(t):
    m, user = shared(t)
    os.chown(m.at("jobs"), user.pw_uid, user.pw_gid)
    before = m.out("cat jobs/config")

    def writes_owner():
        config = m.at("jobs/config")
        fails(errno.EPERM, writes, config, b"owner: 0\n")
        fails(errno.EPERM, writes, config, b"mode: 0640\ngroup: 0\n")
        fails(errno.EPERM, os.chown, m.at("jobs"), 0, -1)
        fails(errno.EPERM, os.chown, m.at("jobs"), -1, 0)
        equal(writes(config, before), len(before))
        writes(config, b"mode: 0644\ngroup: %d\n" % user.pw_gid)

    as_user(user, writes_owner)
    m.says("only root may give a queue to another user")
    status = os.stat(m.at("jobs"))
    equal((status.st_uid, status.st_gid), (user.pw_uid, user.pw_gid), "owner")
    equal(status.st_mode & 0o666, 0o644, "mode")
    writes(m.at("jobs/config"), b"owner: 0\n")
    equal(os.stat(m.at("jobs")).st_uid, 0, "owner")


def test_the_owner_gives_it_to_a_group_of_its_own(t):
    m, user = shared(t)
    os.chown(m.at("jobs"), user.pw_uid, user.pw_gid)

    def gives():
        writes(m.at("jobs/config"), b"group: 4242\n")

    as_user(user, gives, groups=[4242])
    equal(os.stat(m.at("jobs")).st_gid, 4242, "group")


def test_modes_of_the_files_follow_the_queue(t):
    m, _ = shared(t)
    os.chmod(m.at("jobs"), 0o640)
    modes = {name: stat.S_IMODE(os.stat(m.at("jobs", name)).st_mode)
             for name in os.listdir(m.at("jobs")) + ["out", "next", "claim"]}
    equal(modes["in"] & 0o222, 0o200, "in")
    equal(modes["out"] & 0o444, 0o440, "out")
    equal(modes["out"] & 0o222, 0, "out")
    equal(modes["next"] & 0o444, 0o440, "next")
    equal(modes["claim"], 0o440, "claim")
    for name in ("ready", "leased", "dead"):
        equal(modes[name], 0o770, name)
    equal(modes["stats"] & 0o222, 0, "stats")


def test_without_allow_other_another_user_sees_nothing(t):
    user = other_user()
    os.chmod(t.directory, 0o755)
    m = t.queue()
    as_user(user, lambda: fails(errno.EACCES, os.listdir, m.path))


def test_eperm_is_for_what_nobody_may(t):
    m, user = shared(t)
    os.chmod(m.at("jobs"), 0o666)
    as_user(user, lambda: fails(errno.EPERM, os.chown, m.at("jobs"), user.pw_uid, -1))
    fails(errno.EPERM, os.unlink, m.at("jobs/in"))
    fails(errno.EPERM, os.mkdir, m.at("jobs/sub"))


if __name__ == "__main__":
    main()
