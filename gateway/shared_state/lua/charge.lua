-- ARGV: now, then for each: kind, key, amount, keep in ms, step length, how long ago in microseconds.
local now = now_us(ARGV[1])
for i = 2, #ARGV, 6 do
  local name = name_of(ARGV[i], ARGV[i + 1])
  if ARGV[i] == 'rolling' then
    local row = read_window(name, tonumber(ARGV[i + 4]), now)
    local step = math.floor((now - ARGV[i + 5]) / row[1])
    if step >= math.floor(now / row[1]) - STEPS then
      count(row, step, math.min(tonumber(ARGV[i + 2]), MOST_ROLLING))
      write_window(name, row)
    end
  else
    redis.call('HSET', name, 'k', ARGV[i + 3])
    spend(name, tonumber(ARGV[i + 2]), 0)
  end
end
return 1
