/* What a session was lent of a batch by one GET. */
#include "core/queue/queue.h"

#include <assert.h>
#include <stdlib.h>

void loan_end(struct loan *loan, uint32_t n_items)
{
    assert(n_items <= loan->n_items);
    loan->n_items -= n_items;
    if (loan->n_items > 0)
        return;
    LIST_REMOVE(loan, link);
    free(loan);
}

void lessee_forget(struct lessee *lessee)
{
    struct loan *loan;

    while ((loan = LIST_FIRST(&lessee->loans)) != NULL)
        loan_end(loan, loan->n_items);
}
