-- ARGV: now, owner, hold, then key, used, … of what was really used. Answers 1, or 0 for a hold that is not open.
local holds = prefix .. 'holds:' .. ARGV[2]
local raw = redis.call('HGET', holds, ARGV[3])
if not raw then return 0 end
redis.call('HDEL', holds, ARGV[3])
local actual = {}
for i = 4, #ARGV, 2 do actual[ARGV[i]] = tonumber(ARGV[i + 1]) end
give_back(cmsgpack.unpack(raw), actual, now_us(ARGV[1]))
return 1
