"""The run-time type checker of the tests: beartype, with int allowed where float is written."""

from beartype import BeartypeConf, beartype

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))
