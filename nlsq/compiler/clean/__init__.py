"""Whether a function may be traced: the clean check, by abstract interpretation of bytecode."""

from nlsq.compiler.clean.bytecode import Unclean
from nlsq.compiler.clean.dependencies import Dependencies, Holder
from nlsq.compiler.clean.examination import errors_are_silent, examine, examine_cached

__all__ = ["Dependencies", "Holder", "Unclean", "errors_are_silent", "examine", "examine_cached"]
