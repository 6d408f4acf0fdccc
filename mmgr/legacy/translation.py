"""An old configuration in, a ``Draft`` of ours out. PURE: files come from whoever calls.

Here stands what each verb of the old configuration does.
"""

from __future__ import annotations

from mmgr.config.values import one_line
from mmgr.legacy import children, knobs, own_conditions
from mmgr.legacy.draft import Draft, Place
from mmgr.legacy.following import FileFault, Files, Translation, Verbs, is_ruby

MAIN_FILE = "milter-manager.conf"
LOCAL_FILE = "milter-manager.local.conf"
CUSTOM_FILE = "milter-manager.custom.conf"
SHIPPED_MAIN = f"""load_if_exist("applicable-conditions/*.conf")
load_default
load_if_exist("{LOCAL_FILE}")
"""
"""What the main file of milter manager 2 says as long as nobody edits it."""

VERBS: Verbs = {
    ("load", False): Translation.load,
    ("load_if_exist", False): Translation.load,
    ("load_default", False): Translation.load_default,
    ("define_milter", False): children.define,
    ("remove_milter", False): children.remove,
    ("defined_milters.each", False): children.each,
    ("define_applicable_condition", False): own_conditions.define,
    **{(path, False): verb for path, verb in knobs.CALLS.items()},
    **{(path, True): verb for path, verb in knobs.ASSIGNMENTS.items()},
}


def of_directory(files: Files) -> Draft:
    """The configuration that begins with milter-manager.conf. Raises FileFault if that can't be read.

    After an upgrade that file may be one of ours. Then the old one is looked for beside it; if there is none, what it
    loaded as it came with milter manager 2 is read.
    """
    translation = Translation(files, VERBS, is_detecting=False)
    main = translation.ruby_of(next(iter(files.matches(MAIN_FILE)), MAIN_FILE))
    there = files.matches(main)
    if there and is_ruby(files.text(main)):
        translation.file(main)
    elif there or files.matches(f"{LOCAL_FILE}*"):
        reason = f"there is no Ruby in it any more, so {LOCAL_FILE} is read as the one of milter manager 2 did"
        translation.report(Place(one_line(main), 1), "", reason, False)
        translation.text(f"{MAIN_FILE} of milter manager 2", SHIPPED_MAIN)
    else:
        raise FileFault(MAIN_FILE, 0, "is not in the directory; a single file can be named instead")
    for path in files.matches(CUSTOM_FILE):
        try:
            translation.file(path)
        except FileFault as fault:
            translation.report(Place(fault.path, fault.line), "", fault.problem, True)
    return _finished(translation)


def of_text(files: Files, path: str, text: str) -> Draft:
    """One file, or the output of ``--show-config``. Milters that are found on the machine may be known before it."""
    translation = Translation(files, VERBS, is_detecting=True)
    translation.text(path, text)
    return _finished(translation)


def _finished(translation: Translation) -> Draft:
    """What is known only when everything has been read."""
    knobs.finish(translation)
    children.finish(translation)
    return translation.draft
