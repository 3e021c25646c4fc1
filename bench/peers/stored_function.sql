-- One enrolment in one call: all checks, all writes, one transaction, one round trip.
--
-- The student's record is locked first, as late as possible the section's row: on a hot section everybody waits for
-- whoever holds it, and it is held until the commit is on disk. Reasons come in the order in which Seatline gives them.
CREATE OR REPLACE FUNCTION bench_enroll(
  p_student bigint, p_section bigint, p_join boolean, p_key text, p_keep boolean,
  OUT code text, OUT enrollment bigint, OUT place bigint, OUT queue_position bigint, OUT reasons text[],
  OUT stored text)
LANGUAGE plpgsql AS $$
DECLARE
  s record;
  r record;
  held record;
  seats record;
  asked text := 'enroll ' || p_section || CASE WHEN p_join THEN ' waitlist' ELSE ' seat-only' END;
  event_kind text;
BEGIN
  SELECT c.id, c.course_id, c.component, c.credits, c.waitlist_limit, c.semester_id,
         t.registration_opens_at, t.registration_closes_at
    INTO s FROM course_sections c JOIN semesters t ON t.id = c.semester_id WHERE c.id = p_section;
  IF NOT FOUND THEN code := 'not_found'; RETURN; END IF;

  SELECT * INTO r FROM registration_records
   WHERE student_id = p_student AND semester_id = s.semester_id FOR NO KEY UPDATE;
  IF NOT FOUND THEN code := 'refused'; reasons := '{not_registered}'; RETURN; END IF;

  -- Behind the lock: a repeat that came at the same time sees what the first one stored.
  IF p_keep THEN
    SELECT a.request, a.outcome INTO held FROM enrollment_requests a
     WHERE a.student_id = p_student AND a.key = p_key;
    IF FOUND THEN
      code := CASE WHEN held.request = asked THEN 'stored' ELSE 'key_reused' END;
      stored := held.outcome;
      RETURN;
    END IF;
  END IF;

  reasons := '{}';
  IF clock_timestamp() < greatest(s.registration_opens_at, r.opens_at)
     OR clock_timestamp() >= least(s.registration_closes_at, r.closes_at) THEN
    reasons := reasons || 'registration_closed'::text;
  END IF;
  IF p_section = ANY (r.waitlisted) THEN reasons := reasons || 'already_waitlisted'::text; END IF;
  SELECT
    EXISTS (SELECT FROM course_sections o WHERE o.id = ANY (r.enrolled)
               AND (o.id = p_section OR (o.course_id = s.course_id AND o.component = s.component))) AS duplicate,
    (SELECT count(*) FROM prerequisites q WHERE q.course_id = s.course_id AND q.kind = 'prerequisite'
        AND NOT coalesce((r.completed ->> q.required_course_id::text)::int >= coalesce(q.min_grade, 0), false))
      AS missing,
    (SELECT count(*) FROM prerequisites q WHERE q.course_id = s.course_id AND q.kind = 'corequisite'
        AND NOT r.completed ? q.required_course_id::text
        AND NOT EXISTS (SELECT FROM course_sections o
                         WHERE o.id = ANY (r.enrolled) AND o.course_id = q.required_course_id)) AS alongside,
    (SELECT count(DISTINCT b.section_id) FROM course_schedules a JOIN course_schedules b
         ON b.weekday = a.weekday AND b.weeks & a.weeks <> 0
        AND b.start_minute < a.end_minute AND a.start_minute < b.end_minute
      WHERE a.section_id = p_section AND b.section_id = ANY (r.enrolled) AND b.section_id <> p_section) AS clashes
    INTO held;
  IF held.duplicate THEN reasons := reasons || 'already_enrolled'::text; END IF;
  reasons := reasons || array_fill('hold'::text, ARRAY[cardinality(r.holds)])
    || array_fill('prerequisite_missing'::text, ARRAY[held.missing::int])
    || array_fill('corequisite_missing'::text, ARRAY[held.alongside::int])
    || array_fill('schedule_conflict'::text, ARRAY[held.clashes::int]);
  IF r.credits + s.credits > r.credit_limit THEN reasons := reasons || 'credit_limit'::text; END IF;

  IF reasons = '{}' THEN
    UPDATE section_seats u
       SET seq = u.seq + 1,
           enrolled = u.enrolled + CASE WHEN u.enrolled < u.capacity AND u.waitlisted = 0 THEN 1 ELSE 0 END,
           waitlisted = u.waitlisted + CASE WHEN u.enrolled < u.capacity AND u.waitlisted = 0 THEN 0 ELSE 1 END,
           last_place = u.last_place + CASE WHEN u.enrolled < u.capacity AND u.waitlisted = 0 THEN 0 ELSE 1 END
     WHERE u.section_id = p_section AND u.is_open
       AND ((u.enrolled < u.capacity AND u.waitlisted = 0)
            OR (p_join AND (s.waitlist_limit IS NULL OR u.waitlisted < s.waitlist_limit)))
    RETURNING u.seq, u.waitlisted, u.last_place INTO seats;
    IF FOUND THEN
      enrollment := nextval('enrollment_id_seq');
      IF seats.waitlisted = 0 THEN
        code := 'enrolled'; event_kind := 'SeatTaken';
      ELSE
        code := 'waitlisted'; event_kind := 'StudentWaitlisted';
        place := seats.last_place; queue_position := seats.waitlisted;
      END IF;
      -- The form of persistence/store/stored_outcomes.py.
      stored := jsonb_strip_nulls(jsonb_build_object(
        'code', code, 'section_id', p_section, 'enrollment_id', enrollment, 'place', place, 'position', queue_position,
        'v', 1))::text;
      WITH e AS (
        INSERT INTO enrollments (id, student_id, section_id, status, credits, place)
        VALUES (enrollment, p_student, p_section, code::enrollment_status,
                CASE WHEN place IS NULL THEN s.credits ELSE 0 END, place)),
      rec AS (
        UPDATE registration_records u
           SET version = u.version + 1,
               credits = u.credits + CASE WHEN place IS NULL THEN s.credits ELSE 0 END,
               enrolled = CASE WHEN place IS NULL THEN u.enrolled || p_section ELSE u.enrolled END,
               waitlisted = CASE WHEN place IS NULL THEN u.waitlisted ELSE u.waitlisted || p_section END
         WHERE u.student_id = p_student AND u.semester_id = s.semester_id),
      h AS (
        INSERT INTO enrollment_history (section_id, seq, kind, student_id, enrollment_id, place, number, epoch)
        VALUES (p_section, seats.seq, event_kind, p_student, enrollment, place,
                CASE WHEN place IS NULL THEN s.credits END, 0)),
      a AS (
        INSERT INTO enrollment_requests (student_id, key, request, outcome)
        VALUES (p_student, p_key, asked, stored))
      INSERT INTO outbox (event_id, topic, payload)
      VALUES (p_section || ':' || seats.seq, code,
              json_build_object('student_id', p_student, 'section_id', p_section, 'enrollment_id', enrollment)::text);
      stored := NULL;
      RETURN;
    END IF;
  END IF;

  code := 'refused';
  SELECT u.is_open, u.enrolled < u.capacity AND u.waitlisted = 0 AS free, u.waitlisted
    INTO seats FROM section_seats u WHERE u.section_id = p_section;
  IF NOT seats.is_open THEN reasons := reasons || 'section_closed'::text; END IF;
  IF NOT seats.free AND NOT p_join THEN reasons := reasons || 'section_full'::text; END IF;
  IF NOT seats.free AND p_join AND seats.waitlisted >= s.waitlist_limit THEN
    reasons := reasons || 'waitlist_full'::text;
  END IF;
  IF p_keep THEN
    INSERT INTO enrollment_requests (student_id, key, request, outcome)
    VALUES (p_student, p_key, asked, jsonb_build_object('code', 'refused', 'section_id', p_section, 'reasons',
            (SELECT jsonb_agg(jsonb_build_object('code', one, 'detail', '')) FROM unnest(reasons) AS one), 'v', 1));
  END IF;
END $$;
