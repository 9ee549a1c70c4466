"""Every statement of the ledger's verbs, by its name."""

from rlmwatch.ledger import journal, overview
from rlmwatch.ledger.ledger import Ledger
from rlmwatch.ledger.statement import Statement

_WHERE = [journal, overview, *Ledger.__mro__]

ALL = {
    name.removeprefix("_"): each
    for where in _WHERE
    for name, each in vars(where).items()
    if isinstance(each, Statement)
}
