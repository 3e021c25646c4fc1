"""The statements of the batch path. Every one takes arrays: one round trip for a whole turn, whatever its size.

Locks are taken in one order everywhere: registration records by (student, semester), then sections by id.
"""

from __future__ import annotations

from persistence.store.columns import spelt_out

LOCK_RECORDS = spelt_out("""
SELECT r.student_id, r.semester_id, r.version, r.credits, r.credit_limit, r.enrolled, r.waitlisted,
       r.completed::text, r.holds,
       extract(epoch FROM r.opens_at)::float8, extract(epoch FROM r.closes_at)::float8,
       (SELECT version FROM catalogue_version)
  FROM unnest(numbers($1), numbers($2)) AS wanted(student_id, semester_id)
  JOIN registration_records r USING (student_id, semester_id)
 ORDER BY r.student_id, r.semester_id
   FOR NO KEY UPDATE OF r""")

LOCK_RECORDS_SKIPPING = LOCK_RECORDS + " SKIP LOCKED"

RECORD_VERSIONS = spelt_out("""
SELECT r.student_id, r.semester_id, r.version
  FROM unnest(numbers($1), numbers($2)) AS wanted(student_id, semester_id)
  JOIN registration_records r USING (student_id, semester_id)""")

ANSWERS = spelt_out("""
SELECT a.student_id, a.key, a.request, a.outcome
  FROM unnest(numbers($1), texts($2)) AS wanted(student_id, key)
  JOIN enrollment_requests a USING (student_id, key)""")

ENROLLMENTS = spelt_out("""
SELECT id, student_id, section_id, status::text, credits FROM enrollments WHERE id = ANY(numbers($1))""")

# The row lock waits out a transaction of the old owner that is still in flight; what is read then is final.
ACTIVATE = """
WITH locked AS MATERIALIZED (
  SELECT section_id FROM section_seats WHERE section_id = ANY($1::bigint[])
   ORDER BY section_id FOR NO KEY UPDATE)
UPDATE section_seats s SET epoch = s.epoch + 1, owner = $2
  FROM locked WHERE s.section_id = locked.section_id
RETURNING s.section_id, s.epoch, s.seq, s.capacity, s.enrolled, s.is_open, s.last_place, s.over_capacity"""

WAITING = """
SELECT section_id, place, student_id, id, blocked_at FROM enrollments
 WHERE section_id = ANY($1::bigint[]) AND status = 'waitlisted'"""

FACTS = """
SELECT s.id, s.course_id, s.component, s.credits, s.waitlist_limit, s.semester_id,
       extract(epoch FROM t.registration_opens_at)::float8, extract(epoch FROM t.registration_closes_at)::float8
  FROM course_sections s JOIN semesters t ON t.id = s.semester_id
 WHERE s.id = ANY($1::bigint[])"""

MEETINGS = """
SELECT section_id, weekday, start_minute, end_minute, weeks FROM course_schedules
 WHERE section_id = ANY($1::bigint[]) ORDER BY section_id, weekday, start_minute"""

REQUISITES = """
SELECT course_id, required_course_id, kind::text, min_grade FROM prerequisites
 WHERE course_id = ANY($1::bigint[]) ORDER BY course_id, required_course_id"""

# Everything that a turn writes. The caller compares the two arrays that come back with what it sent: a section that
# is missing has another owner by now, and the transaction must be rolled back.
# The rows to write are joined once, on the way to their locks: the planner expects few rows of an array, and would
# compare each with each in a second join.
COMMIT_CHANGES = spelt_out("""
WITH fence AS MATERIALIZED (
  SELECT s.section_id
    FROM unnest(numbers($1), numbers($2)) AS mine(section_id, epoch)
    JOIN section_seats s ON s.section_id = mine.section_id AND s.epoch = mine.epoch),
write AS MATERIALIZED (
  SELECT w.*
    FROM unnest(numbers($3), numbers($4), numbers($5), numbers($6), $7::text::int[],
                $8::text::int[], $9::text::int[], numbers($10), $11::text::bool[], $12::text::int[])
      AS w(section_id, epoch, seq_before, seq, capacity, enrolled, waitlisted, last_place, is_open, over_capacity)
    JOIN section_seats s USING (section_id)
   ORDER BY section_id FOR NO KEY UPDATE OF s),
seats AS (
  UPDATE section_seats s
     SET seq = w.seq, capacity = w.capacity, enrolled = w.enrolled, waitlisted = w.waitlisted,
         last_place = w.last_place, is_open = w.is_open,
         -- A backstop: without a change of capacity nobody comes into a section that is too full, whatever is claimed.
         over_capacity = CASE WHEN w.capacity = s.capacity THEN least(s.over_capacity, w.over_capacity)
                              ELSE w.over_capacity END
    FROM write w
   WHERE s.section_id = w.section_id AND s.epoch = w.epoch AND s.seq = w.seq_before
  RETURNING s.section_id),
taken AS (
  INSERT INTO enrollments (id, student_id, section_id, status, credits, place)
  SELECT id, student_id, section_id, status::enrollment_status, credits, place
    FROM unnest(numbers($13), numbers($14), numbers($15), texts($16), $17::text::int[],
                numbers($18))
      AS n(id, student_id, section_id, status, credits, place)),
changed AS (
  UPDATE enrollments e
     SET status = u.status::enrollment_status, credits = coalesce(u.credits, e.credits),
         blocked_at = u.blocked_at, blocked_by = string_to_array(u.blocked_by, ','), updated_at = now()
    FROM unnest(numbers($19), texts($20), $21::text::int[], numbers($22), texts($23))
      AS u(id, status, credits, blocked_at, blocked_by)
   WHERE e.id = u.id),
records AS (
  UPDATE registration_records r
     SET version = u.version, credits = u.credits, enrolled = u.enrolled::bigint[], waitlisted = u.waitlisted::bigint[]
    FROM unnest(numbers($24), numbers($25), numbers($26), $27::text::int[], texts($28),
                texts($29))
      AS u(student_id, semester_id, version, credits, enrolled, waitlisted)
   WHERE r.student_id = u.student_id AND r.semester_id = u.semester_id),
history AS (
  INSERT INTO enrollment_history
         (section_id, seq, kind, student_id, enrollment_id, place, number, detail, epoch)
  SELECT h.* FROM unnest(numbers($30), numbers($31), texts($32), numbers($33),
                         numbers($34), numbers($35), numbers($36), texts($37),
                         numbers($38))
    AS h(section_id, seq, kind, student_id, enrollment_id, place, number, detail, epoch)
    -- Only behind the fence: the new owner of a section may have written the same seq by now.
    JOIN seats USING (section_id)),
answered AS (
  INSERT INTO enrollment_requests (student_id, key, request, outcome)
  SELECT * FROM unnest(numbers($39), texts($40), texts($41), texts($42))),
told AS (
  INSERT INTO outbox (event_id, topic, payload) SELECT * FROM unnest(texts($43), texts($44), texts($45)))
SELECT array(SELECT section_id FROM fence), array(SELECT section_id FROM seats)""")

NEXT_ENROLLMENT_ID = "SELECT nextval('enrollment_id_seq')"
