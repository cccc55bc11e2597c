-- What a tenant's submit would use is reserved, or a limit is reached: 1 daily, 2 budget, 3 tasks, 4 rate; 0 is none. -1: the
-- server was emptied, and the replicas have not written back yet what they hold. Returns that, and the solves of the day and
-- the money of the month that are used for good.
-- ARGV: tenant, submit, day, month, for how many ms it is held if its replica dies, price, then the limits, blank where none.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local tenant, submit = 'sidekey:tenant:' .. ARGV[1], ARGV[2]
local daily, budget, tasks, rate = tonumber(ARGV[7]), tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local open, uncertain, prices = tenant .. ':open', tenant .. ':uncertain', tenant .. ':prices'

-- Of a submit that is on its way: the first half of its number is its run. By that it is found when its replica dies.
local function reserved_of(submit) return string.format('sidekey:reserved:%d', math.floor(tonumber(submit) / 4294967296)) end

-- Each writes back at its next meeting, and of the mark's ten seconds eight are left two seconds after the last one did.
if call('EXISTS', 'sidekey:salt') == 0 or call('PTTL', 'sidekey:restoring') > 8000 then return { -1, 0, 0 } end
local function used(field)
  local found = call('HMGET', tenant .. ':used', field, 'missing ' .. field)
  return tonumber(found[1] or 0) + tonumber(found[2] or 0)
end
local solves, spent = used('d' .. ARGV[3]), used('m' .. ARGV[4])
local function answer(reached) return { reached, solves, spent } end

-- Asked again because the answer was lost; or given up, and given back, before this came here.
if call('ZSCORE', open, submit) or call('EXISTS', 'sidekey:given_back:' .. submit) == 1 then return answer(0) end
for _, kind in ipairs({ open, uncertain }) do
  for _, member in ipairs(call('ZRANGEBYSCORE', kind, '-inf', now)) do
    call('ZREM', kind, member)
    call('HDEL', prices, member)
    if string.match(member, '^%d') then call('HDEL', reserved_of(member), member) end
  end
end
local running = call('ZCARD', open)
if daily and solves + running + call('ZCARD', uncertain) >= daily then return answer(1) end
if budget then
  local sum = spent + tonumber(ARGV[6])
  for _, price in ipairs(call('HVALS', prices)) do sum = sum + tonumber(price) end
  if sum > budget then return answer(2) end
end
if tasks and running >= tasks then return answer(3) end
if rate then
  call('ZREMRANGEBYSCORE', tenant .. ':rate', '-inf', now - 60000)
  if call('ZCARD', tenant .. ':rate') >= rate then return answer(4) end
  call('ZADD', tenant .. ':rate', now, submit)
  call('PEXPIRE', tenant .. ':rate', 60000)
end
call('ZADD', open, now + ARGV[5], submit)
call('HSET', prices, submit, ARGV[6])
call('HSET', reserved_of(submit), submit, ARGV[1])
return answer(0)
