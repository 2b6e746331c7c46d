"""The course of a session: its steps, how they run, what their tests record, what is told in the end."""
