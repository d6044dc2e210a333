"""What an error of gloo or NCCL says that is worth showing."""

LAST_ERROR = "Last error:"
"""After it NCCL says what has happened; before it, of which kind that is."""

WHERE = ("Exception raised from ", "frame #")
"""With these begins where in torch's C++ an error was raised."""


def telling_lines(error: BaseException) -> str:
    """The first line of an error, and what NCCL calls its last error, in one line.

    >>> telling_lines(RuntimeError("NCCL error: invalid usage\\nncclInvalidUsage: ...\\nLast error:\\nDuplicate GPU"))
    'NCCL error: invalid usage; Duplicate GPU'
    """
    lines = [line.strip() for line in str(error).splitlines()]
    lines = [line for line in lines if line] or [type(error).__name__]
    return "; ".join(dict.fromkeys([lines[0], *_last_error(lines[1:])]))


def _last_error(lines: list[str]) -> list[str]:
    for place, line in enumerate(lines):
        if line.startswith(LAST_ERROR):
            following = [line.removeprefix(LAST_ERROR).strip(), *lines[place + 1 :]]
            said = [text for text in following[:2] if text]
            return [text for text in said if not text.startswith(WHERE)][:1]
    return []
