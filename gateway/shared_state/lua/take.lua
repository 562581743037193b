-- ARGV: now, owner, hold ('' counts for good; '?' only looks), then for each ask: kind, key, limit, amount, step length, keep in ms.
-- Answers {granted, for each ask: used, microseconds until the window is empty, microseconds to wait (-1: waiting does not help)}.
local now, owner, hold = now_us(ARGV[1]), ARGV[2], ARGV[3]
local holds = prefix .. 'holds:' .. owner
local taking = hold ~= '?'
if taking and redis.call('EXISTS', prefix .. 'seeded') == 0 then return redis.error_reply('EMPTY') end
if taking and hold ~= '' and redis.call('HEXISTS', holds, hold) == 1 then return redis.error_reply('OPEN') end

local asks, granted = {}, true
for i = 4, #ARGV, 6 do
  local ask = {
    kind = ARGV[i], key = ARGV[i + 1], limit = tonumber(ARGV[i + 2]), amount = tonumber(ARGV[i + 3]),
    length = tonumber(ARGV[i + 4]), keep = tonumber(ARGV[i + 5]),
  }
  ask.name = name_of(ask.kind, ask.key)
  if ask.kind == 'window' or ask.kind == 'rolling' then
    ask.row = read_window(ask.name, ask.length, now)
    ask.used = ask.row[2]
  elseif ask.kind == 'lease' then
    ask.used = tonumber(redis.call('GET', ask.name) or 0)
  else
    local spent, reserved = read_budget(ask.name)
    ask.used = spent + reserved
  end
  local total = ask.used + ask.amount
  ask.over = total > ask.limit or total > MOST
  if ask.over then granted = false end
  asks[#asks + 1] = ask
end

local entries = {}
if granted and taking then
  for _, ask in ipairs(asks) do
    local step = 0
    ask.used = ask.used + ask.amount
    if ask.row then
      step = math.floor(now / ask.row[1])
      count(ask.row, step, ask.amount)
      write_window(ask.name, ask.row)
      if ask.kind == 'rolling' then redis.call('INCRBY', prefix .. 'reserved', text(ask.amount)) end
    elseif ask.kind == 'lease' then
      redis.call('INCRBY', ask.name, text(ask.amount))
    else
      redis.call('HINCRBY', ask.name, 'r', text(ask.amount))
      redis.call('INCRBY', prefix .. 'reserved', text(ask.amount))
      redis.call('HSET', ask.name, 'k', text(ask.keep))
      touch(ask.name, ask.keep)
    end
    entries[#entries + 1] = {ask.key, ask.kind, step, ask.amount}
  end
  if hold ~= '' then
    redis.call('HSET', holds, hold, cmsgpack.pack(entries))
    redis.call('ZADD', prefix .. 'owners', 'NX', text(now), owner)
  end
end

local out = {granted and 1 or 0}
for _, ask in ipairs(asks) do
  local reset, wait, row = 0, -1, ask.row
  if row and #row > 2 then
    reset = (row[#row - 1] + STEPS + 1) * row[1] - now
    local excess = ask.used + ask.amount - ask.limit
    if not (granted and taking) and excess > 0 and ask.amount <= ask.limit then
      for i = 3, #row, 2 do
        excess = excess - row[i + 1]
        if excess <= 0 then
          wait = (row[i] + STEPS + 1) * row[1] - now
          break
        end
      end
    end
  end
  out[#out + 1] = text(ask.used)
  out[#out + 1] = text(reset)
  out[#out + 1] = text(wait)
end
return out
