-- How windows, leases and budgets count in Valkey: the same rules as counters.py, which says what they are. Times are microseconds.
-- Keys: window = packed list {step length, total, step, count, ...}; lease = number; budget = hash {s spent, r reserved, k keep in ms};
-- holds = one hash for each owner, hold -> packed list of {key, kind, step, amount}.
-- Rolling money is counted as a window is.
local STEPS, MOST, MOST_IN_WINDOW, MOST_ROLLING = 60, 1152921504606846976, 1099511627776, 4503599627370496
local prefix = KEYS[1]

local function now_us(given)
  if given ~= '' then return tonumber(given) end
  local time = redis.call('TIME')
  return time[1] * 1000000 + time[2]
end

local function text(number) return string.format('%.0f', number) end

local function name_of(kind, key) return prefix .. kind .. ':' .. key end

local function read_window(name, length, now)
  local raw = redis.call('GET', name)
  if raw then
    local row = cmsgpack.unpack(raw)
    local oldest, kept = math.floor(now / row[1]) - STEPS, {row[1], 0}
    for i = 3, #row, 2 do
      if row[i] >= oldest then
        kept[#kept + 1] = row[i]
        kept[#kept + 1] = row[i + 1]
        kept[2] = kept[2] + row[i + 1]
      end
    end
    if kept[2] > 0 then return kept end
  end
  return {length, 0}
end

local function write_window(name, row)
  if #row == 2 then
    redis.call('DEL', name)
  else
    redis.call('SET', name, cmsgpack.pack(row), 'PX', text(math.ceil(row[1] * (STEPS + 2) / 1000)))
  end
end

-- Adds `amount`, which may be negative, to one step; a step of nothing is not kept.
local function count(row, step, amount)
  for i = 3, #row, 2 do
    if row[i] == step then
      row[2] = row[2] + amount
      row[i + 1] = row[i + 1] + amount
      if row[i + 1] == 0 then
        table.remove(row, i)
        table.remove(row, i)
      end
      return
    end
  end
  if amount > 0 then
    row[2] = row[2] + amount
    local at = 3
    while row[at] and row[at] < step do at = at + 2 end
    table.insert(row, at, amount)
    table.insert(row, at, step)
  end
end

local function read_budget(name)
  local row = redis.call('HMGET', name, 's', 'r', 'k')
  return tonumber(row[1] or 0), tonumber(row[2] or 0), tonumber(row[3] or 0)
end

local function touch(name, keep)
  if keep > 0 then redis.call('PEXPIRE', name, text(keep)) else redis.call('PERSIST', name) end
end

local function spend(name, used, amount)
  local spent, _, keep = read_budget(name)
  redis.call('HINCRBY', name, 's', text(math.min(used, MOST - spent)))
  if amount ~= 0 then
    redis.call('HINCRBY', name, 'r', text(-amount))
    redis.call('INCRBY', prefix .. 'reserved', text(-amount))
  end
  touch(name, keep)
end

-- Gives back what one hold took; `actual` maps keys to what was really used.
local function give_back(entries, actual, now)
  for _, entry in ipairs(entries) do
    local key, kind, step, amount = entry[1], entry[2], entry[3], entry[4]
    local name, used = name_of(kind, key), actual[key]
    if used and used < 0 then used = 0 end
    if kind == 'window' then
      if used and used ~= amount then
        local row = read_window(name, 1, now)
        if #row > 2 and step >= math.floor(now / row[1]) - STEPS then
          count(row, step, math.min(used, MOST_IN_WINDOW) - amount)
          write_window(name, row)
        end
      end
    elseif kind == 'rolling' then
      if (used or 0) ~= amount then
        local row = read_window(name, 1, now)
        if #row > 2 and step >= math.floor(now / row[1]) - STEPS then
          count(row, step, math.min(used or 0, MOST_ROLLING) - amount)
          write_window(name, row)
        end
      end
      redis.call('INCRBY', prefix .. 'reserved', text(-amount))
    elseif kind == 'lease' then
      if redis.call('DECRBY', name, text(amount)) <= 0 then redis.call('DEL', name) end
    else
      spend(name, used or 0, amount)
    end
  end
end

local function release(owner, now)
  local holds = redis.call('HGETALL', prefix .. 'holds:' .. owner)
  for i = 2, #holds, 2 do give_back(cmsgpack.unpack(holds[i]), {}, now) end
  redis.call('DEL', prefix .. 'holds:' .. owner)
  redis.call('ZREM', prefix .. 'owners', owner)
  return #holds / 2
end
