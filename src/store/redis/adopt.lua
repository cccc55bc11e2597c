-- Parked submits whose replica ended are this run's to send. ARGV: the run. Returns all of its open ones, so that it may be
-- said again.
local call = redis.call
local run = ARGV[1]
for _, id in ipairs(call('SMEMBERS', 'sidekey:parked_orphans')) do
  if call('HGET', 'sidekey:parked:' .. id, 'state') == 'waiting' then
    call('HSET', 'sidekey:parked:' .. id, 'run', run)
    call('SADD', 'sidekey:parked_of:' .. run, id)
  end
end
call('DEL', 'sidekey:parked_orphans')
return call('SMEMBERS', 'sidekey:parked_of:' .. run)
