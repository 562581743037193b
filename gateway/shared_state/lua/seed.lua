-- ARGV: key, spent, … What other gateways have counted since stays: spending only grows.
for i = 1, #ARGV, 2 do
  local name = name_of('budget', ARGV[i])
  local spent = read_budget(name)
  if tonumber(ARGV[i + 1]) > spent then redis.call('HSET', name, 's', ARGV[i + 1]) end
end
redis.call('SET', prefix .. 'seeded', '1')
return 1
