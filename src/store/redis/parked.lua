-- Changes of parked submits: a part of `changes.lua`.

-- A parked submit is its replica's to send, and no other's: `run` of its row. Its request lies beside it while it may be sent.
function change.park(id, tenant, row, at, scope, parameters, intent, ...)
  local owner = call('HGET', parked_of(id), 'run')
  if owner and owner ~= run then return CLAIMED end
  if scope ~= '' then
    local other = call('HGET', claim_of(scope), 'intent')
    if other and run_of(other) ~= run then return CLAIMED end
    drop_claim(scope)
    call('HSET', claim_of(scope), 'parameters', parameters, 'intent', intent, 'task', id)
    call('HSET', CLAIM_OF, intent, scope)
    call('ZADD', CLAIM_TIMES, at, scope)
  end
  call('HSET', parked_of(id), 'tenant', tenant, 'row', row, 'state', 'waiting', 'detail', '', 'used', at, 'run', run)
  call('HSET', request_of(id), ...)
  call('SADD', open_of(run), id)
  return 0
end

-- What it had reserved is given back; of an uncertain one when the day ends.
local function end_parked_hold(tenant, id, state, at)
  if tenant == '' then return end
  tenant = 'sidekey:tenant:' .. tenant
  if state ~= 'uncertain' then
    -- The answer came late.
    call('ZREM', tenant .. ':uncertain', 'p' .. id)
    return end_reservation(tenant, 'p' .. id)
  end
  if call('ZREM', tenant .. ':open', 'p' .. id) == 1 then
    local day = math.floor(tonumber(at) / 86400000) + 1
    call('ZADD', tenant .. ':uncertain', string.format('%d', day * 86400000), 'p' .. id)
  end
end

local function turn(id, state, detail, at)
  local place = parked_of(id)
  local row = call('HMGET', place, 'tenant', 'used')
  local used = row[2]
  if tonumber(at) > tonumber(used) then used = at end
  call('HSET', place, 'state', state, 'detail', detail, 'used', used)
  if state == 'waiting' or state == 'sending' then
    call('HSET', place, 'run', run)
    call('SADD', open_of(run), id)
    call('ZREM', PARKED, id)
  else
    call('SREM', open_of(run), id)
    call('ZADD', PARKED, used, id)
    call('DEL', request_of(id))
    end_parked_hold(row[1], id, state, at)
  end
end

-- Of a row that another replica has, only the vendor's id is written: the task is there. Whoever wants to send it may not.
function change.turn(id, state, detail, at, with, ...)
  local owner = call('HGET', parked_of(id), 'run')
  local is_own = owner == run or (owner and state == 'submitted')
  if owner and not is_own and state == 'sending' then return CLAIMED end
  local result = 0
  if with then result = change[with](...) end
  if is_own and result >= 0 then turn(id, state, detail, at) end
  return result
end

function change.touch_parked(id, used)
  local before = call('HGET', parked_of(id), 'used')
  if before and tonumber(used) > tonumber(before) then
    call('HSET', parked_of(id), 'used', used)
    call('ZADD', PARKED, 'XX', used, id)
  end
  return 0
end

function change.hold_parked(submit, id)
  local row = call('HMGET', parked_of(id), 'tenant', 'state')
  if not row[1] or row[1] == '' then return 0 end
  local tenant = 'sidekey:tenant:' .. row[1]
  local price = call('HGET', tenant .. ':prices', submit)
  is_not_reserved(submit)
  end_reservation(tenant, submit)
  if price and (row[2] == 'waiting' or row[2] == 'sending') then
    call('ZADD', tenant .. ':open', '+inf', 'p' .. id)
    call('HSET', tenant .. ':prices', 'p' .. id, price)
  end
  return 0
end

function change.forget_parked(unused_since, limit)
  local ids = call('ZRANGEBYSCORE', PARKED, '-inf', '(' .. unused_since, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    call('ZREM', PARKED, id)
    call('DEL', parked_of(id))
  end
  return #ids
end

