-- The submits that a run was in the middle of when it ended: nobody can know how they ended.
-- ARGV: the run, and for how many ms it must have been silent; -1 as the run means all runs.
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local runs = { ARGV[1] }
if ARGV[1] == '-1' then runs = call('ZRANGEBYSCORE', 'sidekey:runs', '-inf', '(' .. now - ARGV[2]) end
local day_ends = string.format('%d', (math.floor(now / 86400000) + 1) * 86400000)
local count = 0

-- What a sent submit had reserved counts until the day ends.
local function count_as_made(id, tenant)
  local submit = call('HGET', 'sidekey:submit_of', id)
  if not submit then return end
  call('HDEL', 'sidekey:submit_of', id)
  tenant = 'sidekey:tenant:' .. tenant
  if call('ZREM', tenant .. ':open', submit) == 1 then call('ZADD', tenant .. ':uncertain', day_ends, submit) end
end

-- Nothing else was sent.
local function give_back(run)
  local reserved = call('HGETALL', 'sidekey:reserved:' .. run)
  for at = 1, #reserved, 2 do
    local submit, tenant = reserved[at], 'sidekey:tenant:' .. reserved[at + 1]
    if call('ZREM', tenant .. ':open', submit) == 1 then call('HDEL', tenant .. ':prices', submit) end
  end
  call('DEL', 'sidekey:reserved:' .. run)
end

for _, run in ipairs(runs) do
  local intents = call('HGETALL', 'sidekey:intents:' .. run)
  for at = 1, #intents, 2 do
    local id, intent = intents[at], intents[at + 1]
    count_as_made(id, cjson.decode(intent).tenant)
    call('HSET', 'sidekey:uncertain', id, intent)
    call('ZADD', 'sidekey:uncertain_by_time', string.format('%d', cjson.decode(intent).at_ms), id)
    call('HDEL', 'sidekey:resolved', id)
    local spent = 'sidekey:spent:' .. cjson.decode(intent).owner_name
    call('HSETNX', spent, 'born', time[1] .. '.' .. time[2])
    call('HINCRBY', spent, 'lost', 1)
    count = count + 1
  end
  call('DEL', 'sidekey:intents:' .. run)
  -- What it was sending is uncertain, and what waits is for another to send.
  for _, id in ipairs(call('SMEMBERS', 'sidekey:parked_of:' .. run)) do
    local parked = 'sidekey:parked:' .. id
    local row = call('HMGET', parked, 'tenant', 'state', 'used')
    call('HSET', parked, 'run', '')
    if row[2] == 'waiting' then
      call('SADD', 'sidekey:parked_orphans', id)
    elseif row[2] == 'sending' then
      call('HSET', parked, 'state', 'uncertain')
      call('DEL', 'sidekey:parked_request:' .. id)
      call('ZADD', 'sidekey:parked_by_use', row[3], id)
      local tenant = 'sidekey:tenant:' .. row[1]
      if call('ZREM', tenant .. ':open', 'p' .. id) == 1 then
        call('ZADD', tenant .. ':uncertain', day_ends, 'p' .. id)
      end
    end
  end
  call('DEL', 'sidekey:parked_of:' .. run)
  give_back(run)
  if call('GET', 'sidekey:leader') == run then call('DEL', 'sidekey:leader') end
  call('ZREM', 'sidekey:runs', run)
end
return count
