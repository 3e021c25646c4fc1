-- One enrolment, decided in Redis. Every other client waits meanwhile: that is the lock.
--
-- KEYS: record, held sections, waitlisted sections, held courses, section, sections that clash, sections of the same
-- component, stored answer, stream, counter of ids.
-- ARGV: student, semester, section, course, credits, waitlist limit (-1: none), term opens, term closes (-1: none), now,
-- joins the waitlist, keep the answer, key, request, number of prerequisites, (course, least grade)..., corequisites...
local record, held, waiting, courses, section = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local clashing, same, answer, stream, ids = KEYS[6], KEYS[7], KEYS[8], KEYS[9], KEYS[10]
local section_id, course, credits, waitlist_limit = tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5]), tonumber(ARGV[6])
local now, joins, keep, request = tonumber(ARGV[9]), ARGV[10] == '1', ARGV[11] == '1', ARGV[13]

if keep then
  local stored = redis.call('GET', answer)
  if stored then
    local asked, outcome = string.match(stored, '^([^\n]*)\n(.*)$')
    if asked ~= request then return 'key_reused' end
    return 'stored\n' .. outcome
  end
end

local r = redis.call('HMGET', record, 'credits', 'limit', 'holds', 'opens', 'closes')
local s = redis.call('HMGET', section, 'capacity', 'enrolled', 'waitlisted', 'last_place', 'seq', 'open')
local reasons = {}
local function against(code) reasons[#reasons + 1] = {code = code, detail = ''} end

local function finish(outcome) -- in the form of persistence/store/stored_outcomes.py
  outcome.section_id, outcome.v = section_id, 1
  local text = cjson.encode(outcome)
  if keep or #reasons == 0 then redis.call('SET', answer, request .. '\n' .. text, 'EX', 86400) end
  return text
end

if not r[1] then
  against('not_registered')
  return finish({code = 'refused', reasons = reasons})
end
if now < math.max(tonumber(ARGV[7]), tonumber(r[4])) or (tonumber(ARGV[8]) >= 0 and now >= tonumber(ARGV[8]))
   or (tonumber(r[5]) >= 0 and now >= tonumber(r[5])) then against('registration_closed') end
if redis.call('SISMEMBER', waiting, section_id) == 1 then against('already_waitlisted') end
if redis.call('SISMEMBER', held, section_id) == 1 or #redis.call('SINTER', held, same) > 0 then
  against('already_enrolled')
end
for _ = 1, tonumber(r[3]) do against('hold') end
local at, requisites = 15, tonumber(ARGV[14])
for _ = 1, requisites do
  local grade = redis.call('HGET', record, 'course:' .. ARGV[at])
  if not grade or tonumber(grade) < tonumber(ARGV[at + 1]) then against('prerequisite_missing') end
  at = at + 2
end
while ARGV[at] do
  if redis.call('SISMEMBER', courses, ARGV[at]) == 0 and redis.call('HEXISTS', record, 'course:' .. ARGV[at]) == 0 then
    against('corequisite_missing')
  end
  at = at + 1
end
for _ = 1, #redis.call('SINTER', held, clashing) do against('schedule_conflict') end
if tonumber(r[1]) + credits > tonumber(r[2]) then against('credit_limit') end
local free = tonumber(s[2]) < tonumber(s[1]) and tonumber(s[3]) == 0
if s[6] ~= '1' then against('section_closed') end
if not free and not joins then against('section_full') end
if not free and joins and waitlist_limit >= 0 and tonumber(s[3]) >= waitlist_limit then against('waitlist_full') end
if #reasons > 0 then return finish({code = 'refused', reasons = reasons}) end

local id = redis.call('INCR', ids)
local seq = redis.call('HINCRBY', section, 'seq', 1)
local outcome
if free then
  redis.call('HINCRBY', section, 'enrolled', 1)
  redis.call('HINCRBY', record, 'credits', credits)
  redis.call('SADD', held, section_id)
  redis.call('SADD', courses, course)
  outcome = {code = 'enrolled', enrollment_id = id}
else
  local place = redis.call('HINCRBY', section, 'last_place', 1)
  local position = redis.call('HINCRBY', section, 'waitlisted', 1)
  redis.call('SADD', waiting, section_id)
  outcome = {code = 'waitlisted', enrollment_id = id, place = place, position = position}
end
local text = finish(outcome)
redis.call('XADD', stream, '*', 'e', cjson.encode({
  tonumber(ARGV[1]), tonumber(ARGV[2]), section_id, seq, id, outcome.place or cjson.null, credits, ARGV[12], request,
  text}))
return text
