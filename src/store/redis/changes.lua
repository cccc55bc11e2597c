-- One batch of changes, carried out whole or not at all: Redis runs nothing between the lines of a script.
--
-- ARGV: how, run, number, the number before, lease in ms, whether nothing else waits, then for each change its name, how many
-- arguments, the arguments. `parked.lua` and `carry_out.lua` are the rest of the script. how is "next" for a batch that follows the one before, "restore" for what is written back.
local how, run, number, before = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local lease = tonumber(ARGV[5])
local call = redis.call
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)

local APPLIED = 'sidekey:applied:' .. run
local TASKS, RUNNING = 'sidekey:tasks_by_use', 'sidekey:running'
local UNCERTAIN, UNCERTAIN_TIMES, RESOLVED = 'sidekey:uncertain', 'sidekey:uncertain_by_time', 'sidekey:resolved'
local SUBMIT_OF = 'sidekey:submit_of'
local CLAIM_OF, CLAIM_TIMES = 'sidekey:claim_of', 'sidekey:claims_by_time'
local PARKED, ORPHANS, OWN_IDS = 'sidekey:parked_by_use', 'sidekey:parked_orphans', 'sidekey:last_own_id'
local USAGE, USAGE_BY_END = 'sidekey:usage', 'sidekey:usage_by_end'
local AUDIT, REFUSAL_DAYS = 'sidekey:audit', 'sidekey:refusal_days'
local CLAIMED, UNRESERVED, FULL = -1, -2, -3

if how == 'next' then
  local known = call('GET', APPLIED)
  local applied = known and string.match(known, '^%d+')
  -- The answer to it was lost on the way.
  if applied == number then
    local results = { 'done' }
    for result in string.gmatch(string.sub(known, #applied + 1), '%S+') do results[#results + 1] = tonumber(result) end
    return results
  end
  -- Redis was emptied, or came back without its last second.
  if before ~= '0' and applied ~= before then return { 'lost' } end
end
local is_written_back = how == 'restore'

local function task_of(key) return 'sidekey:task:' .. key end
local function slots_of(owner) return 'sidekey:slots:' .. owner end
local function claim_of(scope) return 'sidekey:claim:' .. scope end
local function parked_of(id) return 'sidekey:parked:' .. id end
local function request_of(id) return 'sidekey:parked_request:' .. id end
local function open_of(run) return 'sidekey:parked_of:' .. run end
local function intents_of(number) return 'sidekey:intents:' .. number end
local function run_of(id) return string.format('%d', math.floor(tonumber(id) / 4294967296)) end

-- By whichever replica's submit it was.
local function end_intent(id)
  call('HDEL', SUBMIT_OF, id)
  local intents = intents_of(run_of(id))
  local intent = call('HGET', intents, id)
  if intent then
    call('HDEL', intents, id)
    call('ZREM', slots_of(cjson.decode(intent).owner_name), 'i' .. id)
  end
end

local function claim_came_to(id, field, value)
  local scope = call('HGET', CLAIM_OF, id)
  if not scope then return end
  call('HDEL', claim_of(scope), 'task', 'answer')
  if field then call('HSET', claim_of(scope), field, value) end
end

local function drop_claim(scope)
  local id = call('HGET', claim_of(scope), 'intent')
  if id then call('HDEL', CLAIM_OF, id) end
  call('DEL', claim_of(scope))
  call('ZREM', CLAIM_TIMES, scope)
end

local function tenant_of(key)
  local tenant = string.match(key, '^[^%z]*%z([^%z]*)%z')
  return tenant ~= '' and 'sidekey:tenant:' .. tenant
end

local function end_reservation(tenant, member)
  call('ZREM', tenant .. ':open', member)
  call('HDEL', tenant .. ':prices', member)
end

local function reserved_of(submit) return 'sidekey:reserved:' .. run_of(submit) end

-- A submit is no longer on its way.
local function is_not_reserved(submit) call('HDEL', reserved_of(submit), submit) end

-- Nobody knows whether it made a task: what it had reserved counts until the day ends.
local function count_as_made(id, tenant)
  local submit = call('HGET', SUBMIT_OF, id)
  if not submit then return end
  call('HDEL', SUBMIT_OF, id)
  is_not_reserved(submit)
  tenant = 'sidekey:tenant:' .. tenant
  if call('ZREM', tenant .. ':open', submit) == 1 then
    local day = math.floor(now / 86400000) + 1
    call('ZADD', tenant .. ':uncertain', string.format('%d', day * 86400000), submit)
  end
end

-- Its slot, and its place among the tasks of its tenant.
local function end_holds(key)
  local task = call('GET', task_of(key))
  if task then call('ZREM', slots_of(cjson.decode(task).owner_name), 't' .. key) end
  local tenant = tenant_of(key)
  if tenant then end_reservation(tenant, 't' .. key) end
end

local function put_task(key, owner, json, used, running)
  local old = call('GET', task_of(key))
  local runs = call('ZSCORE', RUNNING, key) and '1' or ''
  if old == json and runs == running and tonumber(call('ZSCORE', TASKS, key)) == tonumber(used) then return 0 end
  if old then end_holds(key) end
  call('SET', task_of(key), json)
  call('ZADD', TASKS, used, key)
  if running == '1' then
    call('ZADD', RUNNING, used, key)
    call('ZADD', slots_of(owner), now + lease, 't' .. key)
    local tenant = tenant_of(key)
    if tenant then
      local task = cjson.decode(json)
      local charge = task.charge_micro_usd
      if charge == cjson.null then charge = task.price_micro_usd end
      if charge == cjson.null then charge = 0 end
      -- Until it is settled, which somebody sees to.
      call('ZADD', tenant .. ':open', '+inf', 't' .. key)
      call('HSET', tenant .. ':prices', 't' .. key, string.format('%d', charge))
    end
  else
    call('ZREM', RUNNING, key)
  end
  return old and 1 or 0
end

local function touch(key, used, final)
  if not call('ZSCORE', TASKS, key) then return 0 end
  call('ZADD', TASKS, 'XX', 'GT', used, key)
  if final == '1' then
    call('ZREM', RUNNING, key)
    end_holds(key)
  elseif call('ZSCORE', RUNNING, key) then
    call('ZADD', RUNNING, 'XX', 'GT', used, key)
    local owner = cjson.decode(call('GET', task_of(key))).owner_name
    call('ZADD', slots_of(owner), 'XX', 'GT', now + lease, 't' .. key)
  end
  return 0
end

local function resolve(id, task_id, at)
  if call('HEXISTS', UNCERTAIN, id) == 1 then call('HSET', RESOLVED, id, at .. ' ' .. task_id) end
end

-- Another replica called it uncertain, not its own.
local function is_taken_over(id)
  local row = call('HGET', UNCERTAIN, id)
  return row and cjson.decode(row).why == cjson.null
end

-- What an account was used for, for whoever compares it with its balance: `lost` are tasks of which nobody knows the price.
local function spent(owner, field, amount)
  local place = 'sidekey:spent:' .. owner
  -- Numbers of another birth cannot be compared.
  call('HSETNX', place, 'born', time[1] .. '.' .. time[2])
  call('HINCRBY', place, field, amount)
end

local function count_spent(ended, row, rest)
  local owner = cjson.decode(rest).owner_name
  if ended == 'e' then
    spent(owner, 'lost', 1)
  elseif ended == 's' then
    local cost = cjson.decode(row).cost_micro_usd
    spent(owner, 'settled', string.format('%d', cost))
    local place = 'sidekey:spent:' .. owner
    if cost > tonumber(call('HGET', place, 'dearest') or 0) then call('HSET', place, 'dearest', string.format('%d', cost)) end
  end
end

-- Rows that are written back are among those that were known to be missing.
local function use(tenant, field, amount)
  local used = tenant .. ':used'
  call('HINCRBY', used, field, amount)
  local missing = tonumber(is_written_back and call('HGET', used, 'missing ' .. field) or 0)
  if missing > 0 then
    call('HSET', used, 'missing ' .. field, string.format('%d', math.max(0, missing - tonumber(amount))))
  end
end

-- The same row again changes nothing; an expired task that was solved after all is solved, and stays whose it was. Returns 1
-- for what is new.
local function put_usage(key, ended_at, field, ended, row, rest, day, month, charge)
  local old = call('HGET', USAGE, field)
  if old then
    if string.sub(old, 1, 1) ~= 'e' or ended == 'e' then return 0 end
    rest = string.sub(old, string.find(old, '\n', 1, true) + 1)
  end
  call('HSET', USAGE, field, ended .. row .. '\n' .. rest)
  call('ZADD', USAGE_BY_END, ended_at, field)
  count_spent(ended, row, rest)
  local tenant = tenant_of(key)
  if tenant and ended == 's' then
    use(tenant, 'd' .. day, 1)
    use(tenant, 'm' .. month, charge)
  end
  return 1
end

local function audit(at, row)
  call('ZADD', AUDIT, at, at .. '\0' .. row)
end

local change = {}

-- The slot is taken with it, so that no number of replicas overshoots. What a submit has reserved may be gone: its replica was taken
-- for dead. Then it must not be sent.
function change.intend(id, owner, json, leased, most, scope, parameters, at, submit, must_hold)
  if must_hold == '1' and call('HEXISTS', reserved_of(submit), submit) == 0 then return UNRESERVED end
  if scope ~= '' then
    local other = call('HGET', claim_of(scope), 'intent')
    if other and run_of(other) ~= run then return CLAIMED end
  end
  local slots = slots_of(owner)
  call('ZREMRANGEBYSCORE', slots, '-inf', now)
  if most ~= '' and not call('ZSCORE', slots, 'i' .. id) then
    local used = call('ZCARD', slots)
    if used >= tonumber(most) then return FULL - used end
  end
  call('ZADD', slots, now + leased, 'i' .. id)
  call('HSET', intents_of(run), id, json)
  if submit ~= '' then call('HSET', SUBMIT_OF, id, submit) end
  if scope ~= '' then
    drop_claim(scope)
    call('HSET', claim_of(scope), 'parameters', parameters, 'intent', id)
    call('HSET', CLAIM_OF, id, scope)
    call('ZADD', CLAIM_TIMES, at, scope)
  end
  return 0
end

function change.accept(id, task_id, key, owner, json, used, running)
  if id ~= '' then
    end_intent(id)
    claim_came_to(id, 'task', task_id)
    -- Another replica took this one for dead.
    if is_taken_over(id) then resolve(id, task_id, used) end
  end
  return put_task(key, owner, json, used, running)
end

function change.answered(id, key, task_id, ended_at, field, ended, row, rest, day, month, charge, answer)
  end_intent(id)
  resolve(id, task_id, ended_at)
  put_usage(key, ended_at, field, ended, row, rest, day, month, charge)
  claim_came_to(id, answer and 'answer', answer)
  return 0
end

function change.forget_intent(id)
  end_intent(id)
  if is_taken_over(id) then
    call('HDEL', UNCERTAIN, id)
    call('ZREM', UNCERTAIN_TIMES, id)
  end
  local scope = call('HGET', CLAIM_OF, id)
  if scope then drop_claim(scope) end
  return 0
end

-- Its slot is held on until the lease ends.
function change.uncertain(id, json, at)
  local intent = cjson.decode(json)
  count_as_made(id, intent.tenant)
  if call('HDEL', intents_of(run_of(id)), id) == 1 then spent(intent.owner_name, 'lost', 1) end
  call('HSET', UNCERTAIN, id, json)
  call('ZADD', UNCERTAIN_TIMES, at, id)
  call('HDEL', RESOLVED, id)
  return 0
end

function change.resolve(id, task_id, key, owner, json, used, running)
  resolve(id, task_id, used)
  claim_came_to(id, 'task', task_id)
  call('ZREM', slots_of(owner), 'i' .. id)
  return put_task(key, owner, json, used, running)
end

change.touch = touch

-- A submit of a tenant has ended. Its task, if it made one, is there already; until the end of the day a submit of which
-- nobody knows counts as one that did.
function change.give_back(name, submit, uncertain_until)
  local tenant = 'sidekey:tenant:' .. name
  is_not_reserved(submit)
  if uncertain_until == '' then
    -- What was asked for may come behind this: it waited on a connection of its own when the server stood still.
    if call('ZREM', tenant .. ':open', submit) == 0 then call('SET', 'sidekey:given_back:' .. submit, '', 'PX', 60000) end
    call('HDEL', tenant .. ':prices', submit)
    -- The answer came late, or another replica took this one for dead.
    call('ZREM', tenant .. ':uncertain', submit)
  elseif call('ZREM', tenant .. ':open', submit) == 1 then
    call('ZADD', tenant .. ':uncertain', uncertain_until, submit)
  end
  return 0
end

-- One that expired goes on running: its answer may still come. The end of an older task is not that of a newer one with its id.
function change.settle(key, submitted_at, ended_at, field, ended, row, rest, day, month, charge)
  local task = call('GET', task_of(key))
  if task and cjson.decode(task).submitted_at_ms == tonumber(submitted_at) then
    if ended == 'e' then end_holds(key) else touch(key, ended_at, '1') end
  end
  return put_usage(key, ended_at, field, ended, row, rest, day, month, charge)
end

-- Each replica counts its own; whoever reads adds them up. The first of a day stands in the audit log, too.
function change.refused(day, field, count, at, audited)
  call('ZADD', REFUSAL_DAYS, day, day)
  if call('SADD', 'sidekey:refused:' .. day, field) == 1 and audited ~= '' then audit(at, audited) end
  local own, place = 'sidekey:refusals:' .. day, field .. '\0' .. run
  if tonumber(call('HGET', own, place) or 0) < tonumber(count) then call('HSET', own, place, count) end
  return 0
end

function change.audit(at, row)
  audit(at, row)
  return 0
end

function change.forget_usage(before_ms, before_day, limit)
  for _, day in ipairs(call('ZRANGEBYSCORE', REFUSAL_DAYS, '-inf', '(' .. before_day)) do
    call('DEL', 'sidekey:refusals:' .. day, 'sidekey:refused:' .. day)
    call('ZREM', REFUSAL_DAYS, day)
  end
  local fields = call('ZRANGEBYSCORE', USAGE_BY_END, '-inf', '(' .. before_ms, 'LIMIT', 0, limit)
  for _, field in ipairs(fields) do
    call('ZREM', USAGE_BY_END, field)
    call('HDEL', USAGE, field)
  end
  return #fields
end

function change.forget_audit(before_ms, most)
  local oldest_kept = call('ZREVRANGE', AUDIT, most - 1, most - 1, 'WITHSCORES')[2]
  if oldest_kept and tonumber(oldest_kept) > tonumber(before_ms) then before_ms = oldest_kept end
  return call('ZREMRANGEBYSCORE', AUDIT, '-inf', '(' .. before_ms)
end

function change.bad_key_answer(id, at, kept)
  call('ZADD', 'sidekey:bad_key_answers', at, id)
  call('ZREMRANGEBYRANK', 'sidekey:bad_key_answers', 0, -1 - kept)
  return 0
end

function change.good_key(identity, at, kept)
  call('ZADD', 'sidekey:good_keys', at, identity)
  call('ZREMRANGEBYRANK', 'sidekey:good_keys', 0, -1 - kept)
  return 0
end

function change.no_good_key(identity)
  call('ZREM', 'sidekey:good_keys', identity)
  return 0
end

function change.forget_tasks(unused_since, limit)
  local keys = call('ZRANGEBYSCORE', TASKS, '-inf', '(' .. unused_since, 'LIMIT', 0, limit)
  for _, key in ipairs(keys) do
    end_holds(key)
    call('DEL', task_of(key))
    call('ZREM', TASKS, key)
    call('ZREM', RUNNING, key)
  end
  return #keys
end

function change.forget_uncertain(before_ms, limit)
  local ids = call('ZRANGEBYSCORE', UNCERTAIN_TIMES, '-inf', '(' .. before_ms, 'LIMIT', 0, limit)
  for _, id in ipairs(ids) do
    call('ZREM', UNCERTAIN_TIMES, id)
    call('HDEL', UNCERTAIN, id)
    call('HDEL', RESOLVED, id)
  end
  return #ids
end

-- The old ones, and those behind the newest `most`.
function change.forget_claims(before_ms, most, limit)
  local oldest_kept = call('ZREVRANGE', CLAIM_TIMES, most - 1, most - 1, 'WITHSCORES')[2]
  if oldest_kept and tonumber(oldest_kept) > tonumber(before_ms) then before_ms = oldest_kept end
  local scopes = call('ZRANGEBYSCORE', CLAIM_TIMES, '-inf', '(' .. before_ms, 'LIMIT', 0, limit)
  for _, scope in ipairs(scopes) do drop_claim(scope) end
  return #scopes
end

