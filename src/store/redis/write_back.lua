-- What a replica remembers and writes back: a part of `changes.lua`. What is there already is newer.

function change.salt(salt, run_after, last_own_id, version)
  call('SET', 'sidekey:version', version, 'NX')
  if tonumber(call('GET', OWN_IDS) or 0) < tonumber(last_own_id) then call('SET', OWN_IDS, last_own_id) end
  call('SET', 'sidekey:salt', salt, 'NX')
  if tonumber(call('GET', 'sidekey:last_run') or 0) < tonumber(run_after) then
    call('SET', 'sidekey:last_run', run_after)
  end
  -- Others remember more: until they have written it, nothing that is missing is missing for good.
  call('SET', 'sidekey:restoring', run, 'PX', 10000)
  return 0
end

function change.put_back_task(field, task_id, key, owner, json, used, running)
  if call('EXISTS', task_of(key)) == 1 then return 0 end
  local row = call('HGET', USAGE, field)
  if row and string.sub(row, 1, 1) ~= 'e' then running = '' end
  return put_task(key, owner, json, used, running)
end

function change.put_back_uncertain(id, json, at, resolved)
  if call('HEXISTS', UNCERTAIN, id) == 0 then change.uncertain(id, json, at) end
  if resolved ~= '' then call('HSET', RESOLVED, id, resolved) end
  return 0
end

-- What is parked and still waits is its replica's; a sending whose intent is open goes on.
function change.put_back_parked(id, tenant, row, used, state, detail, is_open, ...)
  local owner = call('HGET', parked_of(id), 'run')
  if owner then
    -- How it ended may have been in the second that was lost: another replica must not send it once more.
    if owner == run then turn(id, state, detail, used) end
    return 0
  end
  call('HSET', parked_of(id), 'tenant', tenant, 'row', row, 'state', state, 'detail', detail, 'used', used, 'run', run)
  if is_open == '1' then
    call('SADD', open_of(run), id)
    if select('#', ...) > 0 then call('HSET', request_of(id), ...) end
  else
    call('ZADD', PARKED, used, id)
  end
  return 0
end

function change.put_back_claim(scope, parameters, id, at, field, value)
  local other = call('HGET', claim_of(scope), 'intent')
  if other and other ~= id then return 0 end
  call('HSET', claim_of(scope), 'parameters', parameters, 'intent', id)
  if field ~= '' then call('HSET', claim_of(scope), field, value) end
  call('HSET', CLAIM_OF, id, scope)
  call('ZADD', CLAIM_TIMES, at, scope)
  return 0
end

-- What this run holds of a tenant's limits, and nothing else.
function change.put_back_hold(name, member, uncertain_until, price)
  local tenant = 'sidekey:tenant:' .. name
  if uncertain_until ~= '' then
    call('ZADD', tenant .. ':uncertain', 'NX', uncertain_until, member)
  else
    local is_parked = string.sub(member, 1, 1) == 'p'
    call('ZADD', tenant .. ':open', 'NX', is_parked and '+inf' or now + 700000, member)
    if not is_parked then call('HSET', reserved_of(member), member, name) end
  end
  call('HSETNX', tenant .. ':prices', member, price)
  return 0
end

function change.put_back_rate(name, at, submit)
  if tonumber(at) <= now - 60000 then return 0 end
  local rate = 'sidekey:tenant:' .. name .. ':rate'
  call('ZADD', rate, 'NX', at, submit)
  call('PEXPIRE', rate, 60000)
  return 0
end

-- There were that many already when this replica looked last: rows of replicas that have ended may be gone, limits are not.
function change.put_back_used(name, ...)
  local used = 'sidekey:tenant:' .. name .. ':used'
  local known = { ... }
  for at = 1, #known, 2 do
    local field, amount = known[at], tonumber(known[at + 1])
    local missing = amount - tonumber(call('HGET', used, field) or 0)
    if missing > tonumber(call('HGET', used, 'missing ' .. field) or 0) then
      call('HSET', used, 'missing ' .. field, string.format('%d', missing))
    end
  end
  return 0
end

-- What has ended in the second that was lost is not open.
local function only(open, ids, is_own, finish)
  local known = {}
  for _, id in ipairs(ids) do known[id] = true end
  for _, id in ipairs(open) do
    if is_own(id) and not known[id] then finish(id) end
  end
  return 0
end

function change.open_intents(...)
  return only(call('HKEYS', intents_of(run)), { ... }, function() return true end, end_intent)
end

function change.open_submits(name, ...)
  local tenant = 'sidekey:tenant:' .. name
  local function is_own(member) return string.match(member, '^%d+$') and run_of(member) == run end
  local function finish(member)
    is_not_reserved(member)
    end_reservation(tenant, member)
  end
  return only(call('ZRANGE', tenant .. ':open', 0, -1), { ... }, is_own, finish)
end

