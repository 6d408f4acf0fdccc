"""The milter wire: packets, commands, replies, options, macros, states. PURE: bytes in, values out, or an error.

Imports nothing of ours, opens nothing, knows no clock. Both roles use it: towards the MTA we are a milter, towards each
child we are an MTA. Sources: sendmail's ``libmilter/mfdef.h`` and ``mfapi.h``, Postfix ``src/milter/milter8.c``.
"""
