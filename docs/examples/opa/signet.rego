# An example policy for signet: policy { opa = "unix:///run/opa.sock"  path = "signet/allow" }
#
# signet asks when it issues, and at use, what data.signet.allow is for the input. It has decided by its own rules
# before: what is said here can only take away. Each deny rule below is one reason; with none of them it is allowed.
# METADATA
# entrypoint: true
package signet

# What changes without a new policy, such as a freeze, is data: PUT /v1/data/signet/settings, or a file beside this one.
default freeze := false

freeze := data.settings.freeze

allow := {"allow": count(deny) == 0, "reason": concat("; ", sort(deny))}

# A question that this policy does not know is not allowed.
deny contains "the question is of a kind that this policy does not know" if not known

known if {
	input.action in {"issue", "use", "jwt"}
	startswith(input.spiffe_id, "spiffe://")
}

# During a freeze only what keeps the host alive goes on.
deny contains "a freeze is in force" if {
	freeze
	not startswith(path, "/system/")
}

# Payments: never from a shell or an interpreter, whoever runs it.
deny contains sprintf("%s may not act as payments", [input.process.executable]) if {
	in_payments
	base(input.process.executable) in {"sh", "bash", "dash", "zsh", "perl", "python3", "node"}
}

# Payments: only as a service that systemd started.
deny contains "payments run as payments.service alone" if {
	in_payments
	has_process
	not input.process.unit == "payments.service"
}

# Payments: tokens for the ledger and for nobody else.
deny contains sprintf("payments have no business with %s", [audience]) if {
	in_payments
	input.action == "jwt"
	some audience in input.audience
	not audience in {"ledger", "https://ledger.example.org"}
}

# A batch job that still runs a day after its start has been forgotten, or taken over.
deny contains "this batch job may have been running for more than a day" if {
	startswith(path, "/batch/")
	has_process
	not is_young
}

is_young if {
	started_ns := time.parse_rfc3339_ns(input.process.started_at)
	time.now_ns() - started_ns < ((24 * 60) * 60) * 1000000000
}

path := substring(input.spiffe_id, count("spiffe://") + count(input.trust_domain), -1)

in_payments if startswith(path, "/payments/")

# Of an identity that is renewed ahead of its use there is no process to ask about.
has_process if is_object(input.process)

base(file) := name if {
	parts := split(file, "/")
	name := parts[count(parts) - 1]
}
