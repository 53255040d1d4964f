package events

import "strings"

// busTopics are the ends of the topics that our events have on their buses:
//
//   - TOPIC_PREFIX.build.STATE and TOPIC_PREFIX.build.promote by Koji's
//     plugins/hub/protonmsg.py;
//   - PREFIX.buildsys.build.state.change by koji-fedoramessaging;
//   - PREFIX.greenwave.decision.update by Greenwave, docs/messaging.rst.
var busTopics = [...]struct{ end, eventType string }{
	{"build.complete", TypeBuildCompleted},
	{"build.promote", TypeBuildPromoted},
	{"buildsys.build.state.change", TypeBuildCompleted},
	{"greenwave.decision.update", TypeDecisionUpdated},
}

// busType is the type of the event that a message stands for, "" where it is
// none of ours. The topic tells it, then the property with which protonmsg
// marks its messages, and last the shape of the body: brokers keep the first
// two from who reads a queue, or replace them.
func busType(m BusMessage) string {
	for _, topic := range busTopics {
		if endsWith(m.Topic, topic.end) {
			return topic.eventType
		}
	}
	switch m.Header("type") {
	case "BuildStateChange":
		return TypeBuildCompleted
	case "BuildPromote":
		return TypeBuildPromoted
	}
	object, err := skimObject(m.Body)
	if err != nil {
		return ""
	}
	return bodyType(object)
}

// endsWith tells whether the last words of a topic are these. Words stand
// between dots; a broker's own prefix, as in topic://A.B or /queue/A.B, may
// stand before the first.
func endsWith(topic, end string) bool {
	before, found := strings.CutSuffix(topic, end)
	return found && (before == "" || strings.HasSuffix(before, ".") || strings.HasSuffix(before, "/") || strings.HasSuffix(before, ":"))
}

// maybeComplete tells whether a change of a build's state may be to COMPLETE,
// by protonmsg's property. A body is not looked at.
func maybeComplete(m BusMessage) bool {
	state := m.Header("new")
	return state == "" || strings.EqualFold(state, "COMPLETE") || state == "1"
}

// bodyType is the type by the members that no other message of these senders
// has: tasks change their state too, tags name a build too.
func bodyType(object raw) string {
	outer, build, _ := recordOf(object).locate(true)
	parts := build.nvr.filled() || build.name.filled() && build.version.filled() && build.release.filled()
	switch {
	case parts && outer.attribute.text() == "state" && outer.next.given():
		return TypeBuildCompleted
	case parts && outer != build && unwrapped(object).member("target_release").filled():
		return TypeBuildPromoted
	}
	decision := unwrapped(object)
	if msg := decision.member("msg"); msg.isObject() {
		decision = msg
	}
	if decision.member("subject_identifier").filled() && decision.member("policies_satisfied").given() {
		return TypeDecisionUpdated
	}
	return ""
}
