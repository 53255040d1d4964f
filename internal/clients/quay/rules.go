package quay

import (
	"net/http"
	"strings"

	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// verdict is what an answer means for the build.
type verdict struct {
	class  pipeline.Class
	reason pipeline.Reason
}

// The verdicts on a refusal.
var (
	passes      = verdict{pipeline.Transient, pipeline.ReasonQuayUnavailable}
	credentials = verdict{pipeline.Transient, pipeline.ReasonUnauthorized}
	final       = verdict{pipeline.Rejected, pipeline.ReasonQuayRefused}
	unsupported = verdict{pipeline.Rejected, pipeline.ReasonNotSupported}
)

// rule is the verdict on the refusals that fit it.
type rule struct {
	status int                 // 0: any
	code   string              // that the refusal has; "": any or none
	when   func(*refusal) bool // nil: always
	verdict
}

func (r rule) fits(a *refusal) bool {
	return (r.status == 0 || r.status == a.Code) && (r.code == "" || a.has(r.code)) && (r.when == nil || r.when(a))
}

// rulebook is the verdicts on the refusals of one interface: the first rule that
// fits decides, and the last one fits all.
//
// Final is only what the registry itself says, with a code, of something that was
// to be written: the same status to a read, or with a page of whatever lies in
// front of the registry, passes when that is mended. Rows that change nothing are
// there to say why a code or a status is judged so.
type rulebook []rule

// ociRules classify every answer to a request of the distribution specification
// other than the one asked for. Names at the right are the exceptions of Quay's
// endpoints/v2/errors.py.
var ociRules = rulebook{
	{0, "", readOnly, passes},              // ReadOnlyMode (405): maintenance
	{0, "METHOD NOT ALLOWED", nil, passes}, // PushesDisabled (405): an administrator has put pushes off

	{403, "DENIED", overQuota, final}, // QuotaExceeded: only its text tells it from refused credentials
	{401, "", nil, credentials},       // Unauthorized, InvalidLogin: an expired token has been replaced by then
	{403, "", nil, credentials},       // no right to push; Quay says it in passing to good credentials too

	{200, "", nil, passes}, // "Healthcheck requested": a front end answers for the registry
	{402, "", nil, passes}, // somebody has to pay
	{416, "", nil, passes}, // an upload session that lost count: the next try has one of its own
	{429, "", nil, passes}, // the rate limit, from nginx without a Retry-After
	{500, "", nil, passes}, // of an image manifest too: ours has all that Quay stumbles over where it is missing
	{502, "", nil, passes},
	{503, "", nil, passes},
	{504, "", nil, passes}, // it may have been done: the next try looks first
	{0, "", isRead, passes},
	{0, "", hasNoCode, passes},

	{0, "UNSUPPORTED", isDelete, unsupported}, // a registry that deletes nothing, or nothing by tag

	{400, "NAME_INVALID", nil, final},        // NameInvalid
	{400, "TAG_INVALID", nil, final},         // TagInvalid
	{400, "MANIFEST_UNVERIFIED", nil, final}, // ManifestUnverified
	{400, "UNSUPPORTED", nil, final},         // of other registries
	{405, "DENIED", nil, final},              // NamespaceDisabled
	{405, "UNSUPPORTED", nil, final},         // Unsupported: a repository that is not for images
	{405, "", nil, final},
	{409, "TAG_IMMUTABLE", nil, final}, // TagImmutable: of a tag that names another image, see giveUp
	{409, "", nil, final},              // TagAlreadyExists
	{413, "", nil, final},              // over the registry's limit
	{415, "", nil, final},              // ManifestInvalid: a registry without schema 2

	{400, "BLOB_UPLOAD_INVALID", nil, passes},   // BlobUploadInvalid: the storage failed
	{400, "DIGEST_INVALID", nil, passes},        // DigestInvalid: bytes were lost on the way
	{400, "SIZE_INVALID", nil, passes},          // SizeInvalid: likewise
	{400, "MANIFEST_BLOB_UNKNOWN", nil, passes}, // ManifestBlobUnknown: a blob is not visible yet
	{400, "MANIFEST_INVALID", nil, passes},      // ManifestInvalid: ours are valid, but were called so while a blob was not visible yet
	{400, "INVALID_REQUEST", nil, passes},       // InvalidRequest: the repository was deleted after the login
	{404, "NAME_UNKNOWN", nil, passes},          // NameUnknown: likewise; the next login makes it anew
	{404, "BLOB_UPLOAD_UNKNOWN", nil, passes},   // BlobUploadUnknown: the upload session is lost
	{0, "", nil, passes},
}

// overQuota tells a full organization from refused credentials. Quay answers
// 403 DENIED to both and has no code of its own for the former.
func overQuota(r *refusal) bool {
	return r.write && strings.Contains(strings.ToLower(r.Message), "quota")
}

func readOnly(r *refusal) bool  { return r.readOnly }
func isRead(r *refusal) bool    { return !r.write }
func isDelete(r *refusal) bool  { return r.Method == http.MethodDelete }
func hasNoCode(r *refusal) bool { return len(r.codes) == 0 }

// ruleFor is the index of the rule that decides on r.
func (b rulebook) ruleFor(r *refusal) int {
	for i, rule := range b {
		if rule.fits(r) {
			return i
		}
	}
	return len(b) - 1
}

// judge is the verdict on a refusal as an error. A Retry-After is handed up.
func judge(r *refusal) error {
	v := r.rules[r.rules.ruleFor(r)].verdict
	if v.class == pipeline.Rejected {
		return pipeline.Reject(v.reason, r)
	}
	return pipeline.RetryAfter(v.reason, r.RetryAfter, r)
}
