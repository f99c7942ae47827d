#!/usr/bin/env bash
# One Apache Kafka broker (KRaft, broker and controller in one process) on 127.0.0.1, for development and tests.
# - stdout holds exactly what was asked for (an address); everything else goes to stderr.
# - A data directory has at most one broker, and keeps its topics and its port across kills and restarts.
# - Only the java that was started for this data directory is ever signalled.
set -euo pipefail

usage() {
  cat >&2 <<'END'
kafka.sh start  [--port N] [--data DIR] [--properties FILE] [--scram FILE]
                                                              start (or find) the broker, print 127.0.0.1:PORT
kafka.sh stop   [--port N] [--data DIR]                       end it, keep its data
kafka.sh status [--port N] [--data DIR]                       print its address; exit 1 if it does not run
kafka.sh acls|topics|configs|consumer-groups|console-producer|console-consumer|transactions …
                                                              Kafka's own tools, see --help of each
kafka.sh jars                                                 print the folder of Kafka's jars, fetching them if need be

--port        9092 by default; 0 takes any free one. A data directory keeps the port of its first start.
--data        ${XDG_STATE_HOME:-~/.local/state}/gaitway/kafka by default
--properties  further broker settings; they win over those of this script. The listener of clients is called CLIENT: for TLS or SASL
              set listener.security.protocol.map=CLIENT:SASL_SSL,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT and listener.name.client.…
--scram       users that the first start makes, a line each: SCRAM-SHA-512=[name=NAME,password=PASSWORD]
The jars (about 55 MB) are kept in ${GAITWAY_KAFKA_HOME:-${XDG_CACHE_HOME:-~/.cache}/gaitway/kafka-VERSION}.
END
  exit 2
}

say() { echo "kafka.sh: $*" >&2; }
die() { say "$@"; exit 1; }

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
java=${JAVA_HOME:+$JAVA_HOME/bin/}java

jars() {
  local version
  version=$(sed -n 's|^  <version>\(.*\)</version>|\1|p' "$here/kafka-pom.xml")
  bash "$here/jars.sh" "$here/kafka-pom.xml" "${GAITWAY_KAFKA_HOME:-${XDG_CACHE_HOME:-$HOME/.cache}/gaitway/kafka-$version}"
}

# run_java MAIN-CLASS ARGUMENT…: runs in the foreground and ends with it.
run_java() {
  local libs
  libs=$(jars)
  exec "$java" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -Dlog4j2.level=warn -cp "$libs/*" "$@"
}

# The pid of this data directory's broker, if it runs. A pid alone proves nothing: it may have been given to another process.
running() {
  local pid
  pid=$(cat "$data/kafka.pid" 2>/dev/null) || return 1
  [[ $pid =~ ^[0-9]+$ && -r /proc/$pid/cmdline ]] || return 1
  tr '\0' '\n' 2>/dev/null <"/proc/$pid/cmdline" | grep -xF -- "-Dgaitway.kafka.data=$data" >/dev/null || return 1
  echo "$pid"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# Asks the broker (ApiVersions, version 0) on its internal listener, which stays plain text whatever --properties does to CLIENT. A process
# that is being killed may still hold its pid and its ports, but answers nothing.
answers() {
  local internal reply
  internal=$(sed -n 's|^listeners=.*INTERNAL://127\.0\.0\.1:\([0-9]*\),.*|\1|p' "$data/server.properties" 2>/dev/null) || return 1
  [[ -n $internal ]] && listens "$internal" || return 1
  reply=$( (
    exec 3<>"/dev/tcp/127.0.0.1/$internal" || exit
    printf '\x00\x00\x00\x0a\x00\x12\x00\x00\x00\x00\x00\x07\xff\xff' >&3
    timeout 5 head -c 8 <&3 | od -An -tx1 -j4 | tr -d ' '
  ) 2>/dev/null) || return 1
  [[ $reply == 00000007 ]]
}

# A port nobody listens on, below the range that the kernel gives to outgoing connections: a broker that was killed finds it free again.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + SRANDOM % 12000))
    listens "$port" || { echo "$port"; return; }
  done
  die "no free port between 20000 and 32000"
}

write_settings() {
  cat >"$data/server.properties" <<END
# Written by kafka.sh at each start.
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$2
listeners=CLIENT://127.0.0.1:$1,INTERNAL://127.0.0.1:$3,CONTROLLER://127.0.0.1:$2
advertised.listeners=CLIENT://127.0.0.1:$1,INTERNAL://127.0.0.1:$3
listener.security.protocol.map=CLIENT:PLAINTEXT,INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=INTERNAL
controller.listener.names=CONTROLLER
log.dirs=$data/log
auto.create.topics.enable=false
message.max.bytes=8388608
replica.fetch.max.bytes=8388608
log.retention.check.interval.ms=30000
# One broker has one replica of everything, and few partitions of its own topics make a start quick.
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=4
# After a kill the controller keeps the dead broker's session until it times out, and the new one waits for that: 3 s instead of 9.
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
# A group of one test does not wait for further members, and may notice a killed one soon.
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
# What a killed producer left open ends within a second after its time is over, not ten.
transaction.abort.timed.out.transaction.cleanup.interval.ms=1000
END
  [[ -z $properties ]] || { echo; cat "$properties"; } >>"$data/server.properties"
}

format() {
  local id=- users=() user
  until [[ $id != -* ]]; do id=$(head -c 16 /dev/urandom | base64 | tr '+/' '-_' | tr -d '='); done
  if [[ -n $scram ]]; then
    while read -r user; do users+=(--add-scram "$user"); done <"$scram"
  fi
  say "formatting $data/log"
  # A format that was cut short leaves no meta.properties: begin again, nothing was ever written there.
  rm -rf "$data/log"
  "$java" -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$1/*" kafka.tools.StorageTool \
    format --cluster-id "$id" --config "$data/server.properties" "${users[@]}" >>"$data/kafka.log" 2>&1 9>&- ||
    { tail -n 20 "$data/kafka.log" >&2; die "formatting failed, see $data/kafka.log"; }
}

# Starts java and waits until it answers. 1: it ended or took too long; 2: a port was taken.
launch() {
  local libs=$1 from pid
  from=$(stat -c %s "$data/kafka.log")
  setsid "$java" -Xms256m -Xmx512m -XX:+UseG1GC -XX:+ExitOnOutOfMemoryError -Djava.awt.headless=true \
    -Dlog4j2.configurationFile="$here/log4j2.properties" "-Dgaitway.kafka.data=$data" \
    -cp "$libs/*" kafka.Kafka "$data/server.properties" </dev/null >>"$data/kafka.log" 2>&1 9>&- &
  pid=$!
  echo "$pid" >"$data/kafka.pid"
  for _ in {1..1200}; do
    if tail -c +$((from + 1)) "$data/kafka.log" | grep -F 'Kafka Server started' >/dev/null && listens "$client" && answers; then
      return 0
    fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null || true
  wait "$pid" 2>/dev/null || true
  rm -f "$data/kafka.pid"
  ! tail -c +$((from + 1)) "$data/kafka.log" | grep -F 'Address already in use' >/dev/null || return 2
  return 1
}

start() {
  local libs client controller internal remembered='' outcome
  command -v "$java" >/dev/null || die "java is missing, install a JDK of version 17 or newer (or set JAVA_HOME)"
  [[ -z $properties || -r $properties ]] || die "cannot read $properties"
  [[ -z $scram || -r $scram ]] || die "cannot read $scram"
  remembered=$(sed -n 's/^127\.0\.0\.1:\([0-9]\{1,5\}\)$/\1/p' "$data/kafka.address" 2>/dev/null) || true
  for _ in {1..100}; do
    running >/dev/null || break
    ! answers || break
    sleep 0.1
  done
  if running >/dev/null; then
    answers || die "the broker in $data (pid $(running)) does not answer: stop it first, or see $data/kafka.log"
    [[ ${port:-0} == 0 || $port == "$remembered" ]] || die "already runs at 127.0.0.1:$remembered in $data: give --data for a second broker"
    say "already runs (pid $(running))"
    echo "127.0.0.1:$remembered"
    return
  fi
  libs=$(jars)
  [[ ! -f $data/kafka.log || $(stat -c %s "$data/kafka.log") -lt 16777216 ]] || mv "$data/kafka.log" "$data/kafka.log.1"
  touch "$data/kafka.log"
  for _ in {1..5}; do
    case ${port:-} in
      '') client=${remembered:-9092} ;;
      0) client=${remembered:-$(free_port)} ;;
      *) client=$port ;;
    esac
    for _ in {1..50}; do
      listens "$client" || break
      sleep 0.1
    done
    ! listens "$client" || die "port $client is taken by another process: end it, or choose another with --port"
    controller=$(free_port)
    internal=$(free_port)
    write_settings "$client" "$controller" "$internal"
    [[ -f $data/log/meta.properties ]] || format "$libs"
    outcome=0
    launch "$libs" || outcome=$?
    if [[ $outcome == 0 ]]; then
      echo "127.0.0.1:$client" | tee "$data/kafka.address"
      return
    fi
    [[ $outcome == 2 ]] || break
    say "a port was taken in the meantime, trying again"
  done
  tail -n 20 "$data/kafka.log" >&2
  die "the broker did not start, see $data/kafka.log"
}

stop() {
  local pid
  if ! pid=$(running); then
    say "no broker runs in $data"
    rm -f "$data/kafka.pid"
    return
  fi
  check_port
  kill -TERM "$pid" 2>/dev/null || true
  for _ in {1..200}; do
    running >/dev/null || break
    sleep 0.1
  done
  if running >/dev/null; then
    say "no end after 20 s, killing it"
    kill -KILL "$pid" 2>/dev/null || true
    while running >/dev/null; do sleep 0.1; done
  fi
  rm -f "$data/kafka.pid"
}

status() {
  running >/dev/null || die "no broker runs in $data"
  check_port
  answers || die "the broker in $data does not answer, see $data/kafka.log"
  cat "$data/kafka.address"
}

check_port() {
  [[ ${port:-0} == 0 || 127.0.0.1:$port == "$(cat "$data/kafka.address")" ]] ||
    die "the broker in $data has $(cat "$data/kafka.address"), not port $port"
}

[[ $# -gt 0 ]] || usage
command=$1
shift
case $command in
  start | stop | status) ;;
  jars)
    jars
    exit
    ;;
  acls) run_java org.apache.kafka.tools.AclCommand "$@" ;;
  topics) run_java org.apache.kafka.tools.TopicCommand "$@" ;;
  configs) run_java kafka.admin.ConfigCommand "$@" ;;
  consumer-groups) run_java org.apache.kafka.tools.consumer.group.ConsumerGroupCommand "$@" ;;
  console-producer) run_java org.apache.kafka.tools.ConsoleProducer "$@" ;;
  console-consumer) run_java org.apache.kafka.tools.consumer.ConsoleConsumer "$@" ;;
  transactions) run_java org.apache.kafka.tools.TransactionsCommand "$@" ;;
  *) usage ;;
esac

port='' data=${XDG_STATE_HOME:-$HOME/.local/state}/gaitway/kafka properties='' scram=''
while [[ $# -gt 0 ]]; do
  [[ $# -ge 2 ]] || usage
  case $1 in
    --port) port=$2 ;;
    --data) data=$2 ;;
    --properties) properties=$2 ;;
    --scram) scram=$2 ;;
    *) usage ;;
  esac
  shift 2
done
[[ -z $port || ($port =~ ^[0-9]{1,5}$ && $port -le 65535) ]] || die "--port $port: expected 0 to 65535"
[[ -z $properties$scram || $command == start ]] || usage

if [[ $command != status ]]; then
  mkdir -p "$data"
  data=$(cd "$data" && pwd -P)
  exec 9>"$data/kafka.lock"
  flock 9
elif [[ -d $data ]]; then
  data=$(cd "$data" && pwd -P)
fi
"$command"
