-- ARGV: now, owner. Answers how many owners live.
redis.call('ZADD', prefix .. 'owners', text(now_us(ARGV[1])), ARGV[2])
return redis.call('ZCARD', prefix .. 'owners')
