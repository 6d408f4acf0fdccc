"""What decides whether a milter sees a session, a recipient or a message. PURE."""
