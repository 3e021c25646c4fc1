"""Telling students what happened to their enrolments: from a message of the outbox to a mail in their language."""
