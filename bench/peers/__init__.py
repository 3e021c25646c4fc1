"""The peers: other designs of ``POST /api/enrollments`` on the same tables.

Every peer runs in processes of its own, takes its addresses from the environment (`environment.py`) and gives the same
answers as Seatline. They share only code that is no part of the comparison: reading a request, checking its token,
writing an answer.
"""
