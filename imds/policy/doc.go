// Package policy decides who may talk to the agent, and what tokens whoever may gets. It is pure: what is known of a caller
// comes in as values, and what follows from it goes out as one.
//
// What holds:
//
//   - [Admission] comes first and knows nobody but the owner and who is named. A container's process is never its user: it is
//     admitted as a container or not at all.
//   - [Policy] is a list of rules. The first whose conditions on the caller all hold decides alone; where none does, whoever was
//     admitted gets what it asks for. A bridge's own lists count beside the rules: both must allow.
//   - A resource that two readers could read differently (user information, percent-encoding, an empty label, a dot segment) is
//     given to nobody for whom resources are listed at all.
//   - What allows compares more strictly than what forbids: the case of a path counts for the one and not for the other.
package policy
