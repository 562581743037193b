-- ARGV: now, the owner that asks, how long a silent owner lives in microseconds; or, for one owner alone, its name instead of a number.
-- Answers how many holds were given back.
local now = now_us(ARGV[1])
if ARGV[3] == 'release' then return release(ARGV[2], now) end
local released = 0
for _, owner in ipairs(redis.call('ZRANGEBYSCORE', prefix .. 'owners', '-inf', text(now - ARGV[3]))) do
  if owner ~= ARGV[2] then released = released + release(owner, now) end
end
return released
