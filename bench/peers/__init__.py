"""What one would build instead: the same ``POST /api/enrollments``, on the same tables, in other ways.

Every peer runs as processes of its own, takes its addresses from the environment (environment.py) and gives the
answers that Seatline gives. They share only what is no part of the comparison: reading a request, checking its token,
writing an answer.
"""
