package main

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"path"
	"regexp"
	"slices"

	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// organizationName is the rule of Quay for namespaces (util/validation.py).
var organizationName = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)

const (
	minOrganizationName = 2
	maxOrganizationName = 255
)

// names lists the organizations in order.
func (c *Config) names() []string { return slices.Sorted(maps.Keys(c.Organizations)) }

func (c *Config) checkOrganizations(f *faults) {
	tokens := make(map[string]string)
	for _, name := range c.names() {
		at := joinPath("organizations", name)
		if n := len(name); !organizationName.MatchString(name) || n < minOrganizationName || n > maxOrganizationName {
			f.add(at, "is no Quay organization: small letters and digits with single . _ - between them, 2 to 255 in all")
		}
		token := events.SubjectToken(name)
		if other, taken := tokens[token]; taken {
			f.add(at, fmt.Sprintf("has the same subjects as organization %s: both are %s", other, token))
		}
		tokens[token] = name
		c.Organizations[name].check(f, at, name)
	}
}

// check also makes the rules of replace_registry, which only then show their
// faults.
func (o OrganizationConfig) check(f *faults, at, name string) {
	for i, pattern := range o.Match {
		f.check(itemPath(at+".match", i), checkPattern(pattern))
	}
	switch o.Target {
	case string(pipeline.TargetOCI):
	case "app-registry":
		f.add(at+".target", "app-registry is not supported by this version")
	default:
		f.add(at+".target", "expects oci")
	}
	f.check(at+".repository", checkRepository(name, o.Repository))
	if len(o.Tags) == 0 {
		f.add(at+".tags", "expects at least one tag")
	}
	for i, tag := range o.Tags {
		f.check(itemPath(at+".tags", i), checkTag(tag))
	}
	if o.PushUsername != "" {
		f.check(at+".push_username", checkWord(o.PushUsername))
	}
	f.pair(at+".push_username", o.PushUsername, at+".push_password_file", o.PushPassword.Written)
	for i, registry := range o.AllowedRegistries {
		f.check(itemPath(at+".allowed_registries", i), checkRegistry(registry))
	}
	for i := range o.ReplaceRegistry {
		r := &o.ReplaceRegistry[i]
		ruleAt := itemPath(at+".replace_registry", i)
		if f.within(ruleAt) {
			continue
		}
		var err error
		r.rule, err = pipeline.NewRule(r.Old, r.New, r.Regexp)
		f.check(ruleAt, err)
	}
}

// doubt warns of what is allowed and yet probably not meant.
func (o OrganizationConfig) doubt(f *faults, at string) {
	if o.Public && o.OAuthToken.Written == "" {
		f.warn(at+".public", "needs oauth_token_file, without which new repositories stay private")
	}
}

func checkPattern(pattern string) error {
	if pattern == "" {
		return errors.New("expects a package name or pattern, which is not empty")
	}
	if _, err := path.Match(pattern, ""); err != nil {
		return fmt.Errorf("%q is no pattern: * ? [a-z] and \\ have a meaning", pattern)
	}
	return nil
}

// PipelineOrganizations is the organizations as the pipeline knows them, by
// name.
func (c Config) PipelineOrganizations() []pipeline.Organization {
	var list []pipeline.Organization
	for _, name := range c.names() {
		o := c.Organizations[name]
		org := pipeline.Organization{
			Fingerprint: o.fingerprint(c.Quay),
			Name:        name, Match: o.Match, Target: pipeline.TargetKind(o.Target),
			Repository: o.Repository, Tags: o.Tags, AllowedRegistries: o.AllowedRegistries,
		}
		for _, r := range o.ReplaceRegistry {
			org.Rules = append(org.Rules, r.rule)
		}
		list = append(list, org)
	}
	return list
}

// fingerprint is 64 bits of a hash over all that decides what is published for
// the organization, and where.
func (o OrganizationConfig) fingerprint(q QuayConfig) string {
	type rule struct {
		Old, New string
		Regexp   bool
	}
	var rules []rule
	for _, r := range o.ReplaceRegistry {
		rules = append(rules, rule{r.Old, r.New, r.Regexp})
	}
	text, err := json.Marshal([]any{q.Registry, o.Target, o.Repository, o.Tags, o.Public, rules, o.AllowedRegistries})
	if err != nil {
		panic(err) // strings and booleans
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8])
}

// PipelineLimits is the limits on an archive as the pipeline knows them.
func (c Config) PipelineLimits() pipeline.Limits {
	l := c.Limits
	return pipeline.Limits{
		ArchiveBytes: int64(l.ArchiveBytes), UnpackedBytes: int64(l.UnpackedBytes), FileBytes: int64(l.FileBytes),
		Files: l.Files, Depth: l.Depth, NameBytes: l.NameBytes,
	}
}
