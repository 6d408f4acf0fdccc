"""An old configuration in, a ``Draft`` of ours out. PURE: files come from whoever calls.

Here stands what each verb of the old configuration does.
"""

from __future__ import annotations

from mmgr.legacy import children, knobs, own_conditions
from mmgr.legacy.draft import Draft, Place
from mmgr.legacy.following import FileFault, Files, Translation, Verbs

MAIN_FILE = "milter-manager.conf"
CUSTOM_FILE = "milter-manager.custom.conf"

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
    """The configuration that begins with milter-manager.conf. Raises FileFault if that can't be read."""
    translation = Translation(files, VERBS, is_detecting=False)
    found = files.matches(MAIN_FILE)
    if not found:
        raise FileFault(MAIN_FILE, 0, "is not in the directory; a single file can be named instead")
    translation.file(found[0])
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
