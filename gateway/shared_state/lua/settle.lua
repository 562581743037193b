-- ARGV: now, owner, hold, whether it is asked again, then key, used, … of what was really used.
-- Answers 1, or 0 for a hold that is not open. Whoever had no answer in time asks again: nothing must count twice.
local holds = prefix .. 'holds:' .. ARGV[2]
local done = prefix .. 'done:' .. ARGV[2] .. ':' .. ARGV[3]
local raw = redis.call('HGET', holds, ARGV[3])
if not raw then
  if ARGV[4] == '1' then return redis.call('EXISTS', done) end
  return 0
end
redis.call('SET', done, 1, 'EX', 60)
redis.call('HDEL', holds, ARGV[3])
local actual = {}
for i = 5, #ARGV, 2 do actual[ARGV[i]] = tonumber(ARGV[i + 1]) end
give_back(cmsgpack.unpack(raw), actual, now_us(ARGV[1]))
return 1
