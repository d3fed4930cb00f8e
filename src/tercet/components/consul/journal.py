"""The log lines of Consul 1.22, and of the libraries that Nomad also uses: memberlist 0.5, serf 0.10, raft 1.7."""

from __future__ import annotations

from tercet.inventory.journals import What, rules

# Shared by Consul and Nomad. hclog prints `… [INFO]  agent.server: message: key=value`.
GOSSIP = rules(
    (What.SUSPECTED, r"memberlist: Suspect (\S+) has failed, no acks received"),  # memberlist state.go
    (What.DECLARED_FAILED, r"memberlist: Marking (\S+) as failed, suspect timeout reached"),
    (What.MEMBER_FAILED, r"serf: EventMemberFailed: (\S+)"),  # serf serf.go
    (What.MEMBER_JOINED, r"serf: EventMemberJoin: (\S+)"),
    (What.ELECTION, r"heartbeat timeout reached, starting election"),  # raft raft.go
    (What.LEADER_ELECTED, r"cluster leadership acquired"),  # consul, nomad leader.go
    (What.LEADER_LOST, r"cluster leadership lost"),
)
CONSUL = (
    *GOSSIP,
    *rules(
        (What.HEALTH_CRITICAL, r"member failed, marking health critical: member=(\S+)"),  # leader_registrator_v1.go
        (What.CHECK_CRITICAL, r"Check is now critical: check=(?:service:)?(\S+)"),  # agent/checks/check.go
        (What.CHECK_SYNCED, r"Synced check: check=(?:service:)?(\S+)"),  # agent/local/state.go
    ),
)
