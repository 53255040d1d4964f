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
	"strings"

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

// isFor tells what the organization's target is.
func (o OrganizationConfig) isFor(target pipeline.TargetKind) bool { return o.Target == string(target) }

// check also makes the rules of replace_registry and the annotations, which
// only then show their faults.
func (o OrganizationConfig) check(f *faults, at, name string) {
	for i, pattern := range o.Match {
		f.check(itemPath(at+".match", i), checkPattern(pattern))
	}
	f.oneOf(at+".target", o.Target, string(pipeline.TargetOCI), string(pipeline.TargetAppRegistry))
	f.check(at+".repository", checkRepository(name, o.Repository))
	if o.isFor(pipeline.TargetAppRegistry) && strings.Contains(o.Repository, "/") {
		f.add(at+".repository", "must not hold a slash: an app registry has no repositories within others")
	}
	f.check(at+".package_name_suffix", pipeline.CheckSuffix(o.PackageNameSuffix))
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
		o.ReplaceRegistry[i].check(f, itemPath(at+".replace_registry", i))
	}
	o.BundleDefaults.check(f, at+".bundle_defaults")
	f.oneOf(at+".unreachable_images", o.UnreachableImages, unreachableWait, unreachableReject)
	for i := range o.CSVAnnotations {
		a := &o.CSVAnnotations[i]
		f.make(itemPath(at+".csv_annotations", i), func() (err error) {
			a.annotation, err = pipeline.NewAnnotation(a.Name, a.Value)
			return err
		})
	}
}

// The ways to deal with an image to be pinned that is not there.
const (
	unreachableWait   = "wait"
	unreachableReject = "reject"
)

// scopeImages makes a rule look at the names of images alone. Without a scope it
// looks at all text.
const scopeImages = "images"

// check also makes the rule.
func (r *RuleConfig) check(f *faults, at string) {
	if r.Scope != "" && r.Scope != scopeImages {
		f.add(at+".scope", "expects "+scopeImages+", or to be left out for all text")
	}
	if r.Scope == scopeImages && r.Regexp {
		f.add(at+".regexp", "has no meaning with scope: images, whose rules are the beginnings of references")
	}
	f.make(at, func() (err error) {
		if r.Scope == scopeImages {
			r.rule, err = pipeline.NewImageRule(r.Old, r.New)
		} else {
			r.rule, err = pipeline.NewRule(r.Old, r.New, r.Regexp)
		}
		return err
	})
}

func (d BundleDefaults) check(f *faults, at string) {
	if d.Package != "" {
		f.check(at+".package", pipeline.CheckPackageName(d.Package))
	}
	for i, channel := range d.Channels {
		f.check(itemPath(at+".channels", i), pipeline.CheckChannel(channel))
	}
	if d.DefaultChannel != "" && len(d.Channels) > 0 && !slices.Contains(d.Channels, d.DefaultChannel) {
		f.add(at+".default_channel", "is none of the channels")
	} else if d.DefaultChannel != "" {
		f.check(at+".default_channel", pipeline.CheckChannel(d.DefaultChannel))
	}
}

// make makes what the section at path describes, unless the section has a fault
// already.
func (f *faults) make(path string, with func() error) {
	if !f.within(path) {
		f.check(path, with())
	}
}

// doubt warns of what is allowed and yet probably not meant.
func (o OrganizationConfig) doubt(f *faults, at string) {
	if o.Public && o.OAuthToken.Written == "" {
		f.warn(at+".public", "needs oauth_token_file, without which new repositories stay private")
	}
	if o.isFor(pipeline.TargetAppRegistry) {
		o.doubtAppRegistry(f, at)
		return
	}
	if o.PushUsername == "" {
		f.warn(at+".push_username", "is empty: images are pushed without a login")
	}
	if o.AppRegistryToken.Written != "" {
		f.warn(at+".app_registry_token_file", "has no use with target oci")
	}
}

func (o OrganizationConfig) doubtAppRegistry(f *faults, at string) {
	token, path := o.AppRegistryToken, at+".app_registry_token_file"
	switch {
	case token.Written == "" && o.PushUsername == "":
		f.warn(path, "is empty, and so is push_username: releases are pushed without a login")
	case token.Written != "" && o.PushUsername != "":
		f.warn(at+".push_username", "has no use beside app_registry_token_file")
	}
	if token.Secret != "" && !strings.Contains(token.Secret.Reveal(), " ") {
		f.warn(path, token.shown()+" holds no scheme, such as basic and a blank, before the token: it is sent as it is")
	}
	if !slices.Equal(o.Tags, defaultOrganization().Tags) {
		f.warn(at+".tags", "have no use with target app-registry: a release has a version instead")
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
			Fingerprint: c.fingerprint(o),
			Name:        name, Match: o.Match, Target: pipeline.TargetKind(o.Target), AcceptArchives: o.AcceptArchives,
			Repository: o.Repository, Tags: o.Tags, PackageNameSuffix: o.PackageNameSuffix, AllowedRegistries: o.AllowedRegistries,
			PinDigests: o.PinDigests, RejectUnreachable: o.UnreachableImages == unreachableReject,
			BundleDefaults: pipeline.BundleDefaults(o.BundleDefaults),
		}
		for _, r := range o.ReplaceRegistry {
			org.Rules = append(org.Rules, r.rule)
		}
		for _, a := range o.CSVAnnotations {
			org.Annotations = append(org.Annotations, a.annotation)
		}
		list = append(list, org)
	}
	return list
}

// fingerprint is 64 bits of a hash over all that decides what is published for
// the organization, and where.
func (c Config) fingerprint(o OrganizationConfig) string {
	type rule struct {
		Old, New string
		Regexp   bool
		Images   bool
	}
	var rules []rule
	for _, r := range o.ReplaceRegistry {
		rules = append(rules, rule{r.Old, r.New, r.Regexp, r.Scope == scopeImages})
	}
	where, versions := c.Quay.Registry, o.Tags
	if o.isFor(pipeline.TargetAppRegistry) {
		where, versions = c.Quay.URL, []string{c.DefaultReleaseVersion}
	}
	text, err := json.Marshal([]any{
		where, o.Target, o.Repository, versions, o.Public, rules, o.AllowedRegistries, o.PackageNameSuffix, o.CSVAnnotations,
		o.PinDigests, o.BundleDefaults,
	})
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
