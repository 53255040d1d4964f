package events

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// The event types. Each has a schema in package schemas.
const (
	TypeBuildCompleted  = "org.koji.build.completed.v1"
	TypeBuildPromoted   = "org.koji.build.promoted.v1"
	TypeDecisionUpdated = "org.greenwave.decision.updated.v1"
	TypePushRequested   = "org.koji.operator-manifests.push-requested.v1"
	TypeDeleteRequested = "org.koji.operator-manifests.delete-requested.v1"
	TypePublished       = "org.koji.operator-manifests.published.v1"
	TypeRejected        = "org.koji.operator-manifests.rejected.v1"
	TypeFailed          = "org.koji.operator-manifests.failed.v1"
	TypeWaiting         = "org.koji.operator-manifests.waiting.v1"
	TypeDeleted         = "org.koji.operator-manifests.deleted.v1"
)

// The subjects, or what they begin with; none ends with a dot.
const (
	SubjectBuildCompleted  = "koji.build.completed"       // may be followed by .PACKAGE
	SubjectBuildPromoted   = "koji.build.promoted"        // may be followed by .PACKAGE
	SubjectDecisionUpdated = "greenwave.decision.updated" // nothing follows
	SubjectRequest         = "omps.request"               // every request
	SubjectPushRequest     = "omps.request.push"          // .ORGANIZATION
	SubjectDeleteRequest   = "omps.request.delete"        // .ORGANIZATION
	SubjectResult          = "omps.result"                // .OUTCOME.ORGANIZATION.PACKAGE
)

// maxToken bounds a subject token in bytes. A server closes the connection on
// a protocol line beyond its max_control_line, 4 KiB unless configured.
const maxToken = 255

// ResultSubject is omps.result.OUTCOME.ORGANIZATION.PACKAGE. What is not known
// is "_".
func ResultSubject(outcome pipeline.Outcome, organization, pkg string) string {
	return strings.Join([]string{
		SubjectResult, SubjectToken(string(outcome)), SubjectToken(organization), SubjectToken(pkg),
	}, ".")
}

// SubjectToken makes one NATS subject token of s: dots, blanks, control
// characters, wildcards and bytes that are not UTF-8 become "_", and so does
// the empty string. It is not reversible; event data holds the true name.
func SubjectToken(s string) string {
	if s == "" {
		return "_"
	}
	s = strings.Map(func(r rune) rune {
		if r == '.' || r == '*' || r == '>' || r == utf8.RuneError || unicode.IsSpace(r) || unicode.IsControl(r) {
			return '_'
		}
		return r
	}, s)
	return cut(s, maxToken)
}

// cut shortens s to at most n bytes without splitting a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// kindOf sorts the event types on a subject. An announcement does not count
// where requests belong: who may ask for one organization, by the permissions
// on the subject, may not announce builds to all.
func kindOf(subject, eventType string) Kind {
	switch eventType {
	case TypeBuildCompleted, TypeBuildPromoted:
		if strings.HasPrefix(subject, SubjectRequest+".") {
			return KindOther
		}
		return KindAnnouncement
	case TypePushRequested, TypeDeleteRequested:
		return KindRequest
	case TypeDecisionUpdated:
		if subject == SubjectDecisionUpdated {
			return KindDecision
		}
	}
	return KindOther
}

// ownSubject tells whether nothing but our input belongs on a subject. What
// cannot be used there is somebody's mistake; elsewhere it is other traffic.
func ownSubject(subject string) bool {
	for _, own := range [...]string{SubjectBuildCompleted, SubjectBuildPromoted, SubjectRequest, SubjectDecisionUpdated} {
		if rest, ok := strings.CutPrefix(subject, own); ok && (rest == "" || rest[0] == '.') {
			return true
		}
	}
	return false
}
