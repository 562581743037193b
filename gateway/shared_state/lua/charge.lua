-- ARGV: for each budget: key, amount, keep in ms.
for i = 1, #ARGV, 3 do
  local name = name_of('budget', ARGV[i])
  redis.call('HSET', name, 'k', ARGV[i + 2])
  spend(name, tonumber(ARGV[i + 1]), 0)
end
return 1
