-- What a tenant's submit would use is reserved, or a limit is reached: 1 daily, 2 budget, 3 tasks, 4 rate; 0 is none.
-- ARGV: tenant, submit, day, month, for how many ms it is held if its replica dies, price, then the limits, blank where none.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tenant, submit = 'sidekey:tenant:' .. ARGV[1], ARGV[2]
local daily, budget, tasks, rate = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local open, uncertain, prices = tenant .. ':open', tenant .. ':uncertain', tenant .. ':prices'

-- Of a submit that is on its way: the first half of its number is its run. By that it is found when its replica dies.
local function reserved_of(submit) return string.format('sidekey:reserved:%d', math.floor(tonumber(submit) / 4294967296)) end

for _, kind in ipairs({ open, uncertain }) do
  for _, member in ipairs(call('ZRANGEBYSCORE', kind, '-inf', now)) do
    call('ZREM', kind, member)
    call('HDEL', prices, member)
    if string.match(member, '^%d') then call('HDEL', reserved_of(member), member) end
  end
end
local running = call('ZCARD', open)
if daily then
  local solves = tonumber(call('HGET', tenant .. ':used', 'd' .. ARGV[3]) or 0)
  if solves + running + call('ZCARD', uncertain) >= daily then return 1 end
end
if budget then
  local spent = tonumber(call('HGET', tenant .. ':used', 'm' .. ARGV[4]) or 0) + tonumber(ARGV[6])
  for _, price in ipairs(call('HVALS', prices)) do spent = spent + tonumber(price) end
  if spent > budget then return 2 end
end
if tasks and running >= tasks then return 3 end
if rate then
  call('ZREMRANGEBYSCORE', tenant .. ':rate', '-inf', now - 60000)
  if call('ZCARD', tenant .. ':rate') >= rate then return 4 end
  call('ZADD', tenant .. ':rate', now, submit)
  call('PEXPIRE', tenant .. ':rate', 60000)
end
call('ZADD', open, now + ARGV[5], submit)
call('HSET', prices, submit, ARGV[6])
call('HSET', reserved_of(submit), submit, ARGV[1])
return 0
