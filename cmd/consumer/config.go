package main

import (
	"time"

	"github.com/omps-consumer/omps-consumer/internal/clients"
	"github.com/omps-consumer/omps-consumer/internal/events"
	"github.com/omps-consumer/omps-consumer/internal/pipeline"
)

// maxConfigBytes bounds the configuration file. 1,000 organizations with 50
// rules each take half of it.
const maxConfigBytes = 8 << 20

// Config is the whole configuration. The yaml tags are its keys, which
// schemas/config.v1.json describes too; DefaultConfig has the defaults.
type Config struct {
	NATS      NATSConfig       `yaml:"nats"`
	Intake    IntakeConfig     `yaml:"intake"`
	Reconcile ReconcileConfig  `yaml:"reconcile"`
	Koji      KojiConfig       `yaml:"koji"`
	Greenwave *GreenwaveConfig `yaml:"greenwave"` // nil: builds are not gated
	Quay      QuayConfig       `yaml:"quay"`
	Limits    LimitsConfig     `yaml:"limits"`
	TLS       TLSConfig        `yaml:"tls"`
	Ops       OpsConfig        `yaml:"ops"`
	Log       LogConfig        `yaml:"log"`
	Tracing   TracingConfig    `yaml:"tracing"`
	Results   ResultsConfig    `yaml:"results"`
	Bridge    BridgeConfig     `yaml:"bridge"`

	DefaultReleaseVersion string                        `yaml:"default_release_version"`
	Organizations         map[string]OrganizationConfig `yaml:"organizations"`

	// Warnings are what is allowed and yet probably not meant, for the log.
	Warnings []string `yaml:"-"`
}

// NATSConfig says which NATS server to use and how. Without a URL the service
// runs a server of its own.
type NATSConfig struct {
	URL             string         `yaml:"url"` // one or more, separated by commas
	Embedded        EmbeddedConfig `yaml:"embedded"`
	CredentialsFile File           `yaml:"credentials_file"`
	NKeySeedFile    File           `yaml:"nkey_seed_file"`
	User            string         `yaml:"user"`
	Password        SecretFile     `yaml:"password_file"`
	TLS             NATSTLSConfig  `yaml:"tls"`
	InboxPrefix     string         `yaml:"inbox_prefix"` // of the subjects that answers come on
	APIPrefix       string         `yaml:"api_prefix"`   // under which another account's JetStream was imported, for commands
	Manage          bool           `yaml:"manage"`
	Replicas        int            `yaml:"replicas"`
	Durable         string         `yaml:"durable"`
	Streams         StreamsConfig  `yaml:"streams"`
	Buckets         BucketsConfig  `yaml:"buckets"`
}

// StreamsConfig names the streams, for a bus that already has some.
type StreamsConfig struct {
	Koji        string `yaml:"koji"`         // koji.>
	Greenwave   string `yaml:"greenwave"`    // greenwave.>; used when builds are gated
	Requests    string `yaml:"requests"`     // omps.request.>
	Results     string `yaml:"results"`      // omps.result.>
	DeadLetters string `yaml:"dead_letters"` // omps.dead-letter.>
}

// BucketsConfig names the key-value buckets.
type BucketsConfig struct {
	Ledger string `yaml:"ledger"` // what became of each build
	Leases string `yaml:"leases"` // which replica is setting a tag
}

// EmbeddedConfig is the NATS server inside the process.
type EmbeddedConfig struct {
	Listen   string `yaml:"listen"`
	StoreDir File   `yaml:"store_dir"`
}

// NATSTLSConfig holds PEM files for the connection to NATS.
type NATSTLSConfig struct {
	CAFile   File `yaml:"ca_file"`
	CertFile File `yaml:"cert_file"`
	KeyFile  File `yaml:"key_file"`
}

// IntakeConfig bounds how builds are taken in and how long they are tried.
type IntakeConfig struct {
	Workers    int           `yaml:"workers"`
	MaxWaiting int           `yaml:"max_waiting"`
	AckWait    time.Duration `yaml:"ack_wait"`
	MaxAge     time.Duration `yaml:"max_age"`
	MaxTries   int           `yaml:"max_tries"`
	// BuildTimeout bounds one try of a build, with all its calls.
	BuildTimeout time.Duration `yaml:"build_timeout"`
	Recheck      time.Duration `yaml:"recheck"`
	Grace        time.Duration `yaml:"grace"`
}

// ReconcileConfig says how the service compares what the hub has completed with
// what it knows, to find builds whose announcement was lost.
type ReconcileConfig struct {
	Every time.Duration `yaml:"every"` // 0: only by command
	Since time.Duration `yaml:"since"` // how far back it looks
	Grace time.Duration `yaml:"grace"` // what was completed since is left to the bus
}

// KojiConfig names the hub and the files server that belongs to it.
type KojiConfig struct {
	HubURL  string        `yaml:"hub_url"`
	RootURL string        `yaml:"root_url"`
	WebURL  string        `yaml:"web_url"` // for links; "": where Koji puts it beside the hub
	Timeout time.Duration `yaml:"timeout"`
}

// GreenwaveConfig says whom to ask whether a build may be published, and what.
type GreenwaveConfig struct {
	URL            string        `yaml:"url"`
	Context        string        `yaml:"context"` // decision context
	ProductVersion string        `yaml:"product_version"`
	Timeout        time.Duration `yaml:"timeout"`
}

// QuayConfig names the registry and the API beside it.
type QuayConfig struct {
	Registry  string        `yaml:"registry"` // host or host:port
	URL       string        `yaml:"url"`
	PlainHTTP bool          `yaml:"plain_http"`
	Timeout   time.Duration `yaml:"timeout"`
}

// LimitsConfig bounds what an archive may hold and how much lies in memory.
type LimitsConfig struct {
	ArchiveBytes  ByteSize `yaml:"archive_bytes"`
	UnpackedBytes ByteSize `yaml:"unpacked_bytes"`
	FileBytes     ByteSize `yaml:"file_bytes"`
	Files         int      `yaml:"files"`
	Depth         int      `yaml:"depth"`
	NameBytes     int      `yaml:"name_bytes"`
	InFlightBytes ByteSize `yaml:"in_flight_bytes"`
}

// TLSConfig adds certificate authorities to the system's for outgoing calls.
type TLSConfig struct {
	CAFiles []File `yaml:"ca_files"`

	// Fetched are more of them as PEM. They come from an address in the
	// environment, never from the file.
	Fetched []byte `yaml:"-"`
}

// CAPaths is the paths of the files.
func (t TLSConfig) CAPaths() []string {
	paths := make([]string, len(t.CAFiles))
	for i, f := range t.CAFiles {
		paths[i] = f.Path
	}
	return paths
}

// OpsConfig is the HTTP server for probes, metrics and the status page.
type OpsConfig struct {
	Listen string `yaml:"listen"`
}

// LogConfig shapes the log.
type LogConfig struct {
	Level  string `yaml:"level"`  // debug, info, warn or error
	Format string `yaml:"format"` // json or text
}

// TracingConfig says where spans go. Without a URL there are none.
type TracingConfig struct {
	OTLPURL       string     `yaml:"otlp_url"`
	Sample        float64    `yaml:"sample"`             // part of the traces that begin here, 0 to 1
	Authorization SecretFile `yaml:"authorization_file"` // sent whole as Authorization
}

// ResultsConfig shapes result events.
type ResultsConfig struct {
	Source string `yaml:"source"` // the CloudEvents source, a URI reference
}

// OrganizationConfig is one Quay organization; its name is its key.
type OrganizationConfig struct {
	Match             []string           `yaml:"match"`
	AcceptArchives    bool               `yaml:"accept_archives"`
	Target            string             `yaml:"target"`
	Repository        string             `yaml:"repository"`
	Tags              []string           `yaml:"tags"`
	Public            bool               `yaml:"public"`
	OAuthToken        SecretFile         `yaml:"oauth_token_file"`
	PushUsername      string             `yaml:"push_username"`
	PushPassword      SecretFile         `yaml:"push_password_file"`
	AppRegistryToken  SecretFile         `yaml:"app_registry_token_file"` // sent whole as Authorization
	ReplaceRegistry   []RuleConfig       `yaml:"replace_registry"`
	PackageNameSuffix string             `yaml:"package_name_suffix"`
	CSVAnnotations    []AnnotationConfig `yaml:"csv_annotations"`
	BundleDefaults    BundleDefaults     `yaml:"bundle_defaults"`
	AllowedRegistries []string           `yaml:"allowed_registries"`
	PinDigests        bool               `yaml:"pin_digests"`
	UnreachableImages string             `yaml:"unreachable_images"` // wait or reject
}

// BundleDefaults say of a bundle what neither its archive nor its image does.
type BundleDefaults struct {
	Package        string   `yaml:"package"`
	Channels       []string `yaml:"channels"`
	DefaultChannel string   `yaml:"default_channel"`
}

// RuleConfig is one replacement of registry names.
type RuleConfig struct {
	Old    string `yaml:"old"`
	New    string `yaml:"new"`
	Regexp bool   `yaml:"regexp"`
	Scope  string `yaml:"scope"` // images; "": all text

	rule pipeline.Rule // what ParseConfig made of the above
}

// AnnotationConfig is an annotation of every ClusterServiceVersion. The value
// may hold {package_name}.
type AnnotationConfig struct {
	Name  string `yaml:"name"`
	Value string `yaml:"value"`

	annotation pipeline.Annotation // what ParseConfig made of the above
}

// File is a file or folder that the configuration names. Path is what to open:
// Written with each ${NAME} replaced by the environment's and, when relative,
// joined to the folder of the configuration file. Both are empty when not set.
type File struct{ Written, Path string }

// SecretFile is a File whose content is a secret. Secret is what was in it when
// the configuration was read.
type SecretFile struct {
	File
	Secret clients.Secret
}

// DefaultConfig is the configuration of an empty file in the working directory.
func DefaultConfig() Config {
	limits, names := pipeline.DefaultLimits(), events.DefaultNames()
	return Config{
		NATS: NATSConfig{
			Embedded:    EmbeddedConfig{Listen: "127.0.0.1:4222", StoreDir: File{Written: "./data", Path: "data"}},
			InboxPrefix: "_INBOX",
			APIPrefix:   ownAPIPrefix,
			Manage:      true,
			Replicas:    1,
			Durable:     "omps",
			Streams: StreamsConfig{
				Koji: names.Koji, Greenwave: names.Greenwave, Requests: names.Requests,
				Results: names.Results, DeadLetters: names.DeadLetters,
			},
			Buckets: BucketsConfig{Ledger: names.Ledger, Leases: names.Leases},
		},
		Intake: IntakeConfig{
			Workers: 8, MaxWaiting: 5000, AckWait: 30 * time.Second, MaxAge: 24 * time.Hour,
			MaxTries: 500, BuildTimeout: 5 * time.Minute, Recheck: 5 * time.Minute, Grace: 25 * time.Second,
		},
		Reconcile: ReconcileConfig{Since: 7 * 24 * time.Hour, Grace: 15 * time.Minute},
		Koji: KojiConfig{
			HubURL:  "https://koji.fedoraproject.org/kojihub",
			RootURL: "https://kojipkgs.fedoraproject.org/",
			Timeout: 30 * time.Second,
		},
		Quay: QuayConfig{Registry: "quay.io", URL: "https://quay.io", Timeout: time.Minute},
		Limits: LimitsConfig{
			ArchiveBytes: ByteSize(limits.ArchiveBytes), UnpackedBytes: ByteSize(limits.UnpackedBytes),
			FileBytes: ByteSize(limits.FileBytes), Files: limits.Files, Depth: limits.Depth,
			NameBytes: limits.NameBytes, InFlightBytes: 256 << 20,
		},
		TLS:                   TLSConfig{CAFiles: []File{}},
		Ops:                   OpsConfig{Listen: "127.0.0.1:8080"},
		Log:                   LogConfig{Level: "info", Format: "json"},
		Tracing:               TracingConfig{Sample: 1},
		Results:               ResultsConfig{Source: "/omps-consumer"},
		Bridge:                BridgeConfig{Sources: []BusConfig{}},
		DefaultReleaseVersion: "1.0.0",
		Organizations:         map[string]OrganizationConfig{},
	}
}

// defaultGreenwave is what a greenwave section starts from. It has no URL.
func defaultGreenwave() GreenwaveConfig {
	return GreenwaveConfig{Context: "omps_push", ProductVersion: "cvp", Timeout: 70 * time.Second}
}

// defaultOrganization is what each organization starts from.
func defaultOrganization() OrganizationConfig {
	return OrganizationConfig{
		Match:             []string{"*"},
		Target:            string(pipeline.TargetOCI),
		Repository:        "{package}",
		Tags:              []string{"{version}", "{nvr}"},
		ReplaceRegistry:   []RuleConfig{},
		CSVAnnotations:    []AnnotationConfig{},
		BundleDefaults:    BundleDefaults{Channels: []string{}},
		AllowedRegistries: []string{},
		UnreachableImages: unreachableWait,
	}
}

// LoadConfig reads the configuration file at path, and what ParseConfig reads.
// Every error is a *ConfigError.
func LoadConfig(path string, getenv func(string) string) (Config, error) {
	return loadConfig(path, getenv, nil)
}

// loadConfig is LoadConfig. above, unless nil, changes what the file says
// before it is checked.
func loadConfig(path string, getenv func(string) string, above func(*Config, *faults)) (Config, error) {
	data, err := readCapped(path, maxConfigBytes)
	if err != nil {
		return Config{}, &ConfigError{Faults: []Fault{{File: path, Text: "cannot be read: " + err.Error()}}}
	}
	return parseConfig(path, data, getenv, above)
}

// ParseConfig reads a configuration of at most 8 MiB, and the secret files that
// it names. Relative paths start at the folder of name. Paths, and nothing
// else, may hold ${NAME}, a variable of getenv that must not be empty.
//
// The error is a *ConfigError with all that is wrong.
func ParseConfig(name string, data []byte, getenv func(string) string) (Config, error) {
	return parseConfig(name, data, getenv, nil)
}

func parseConfig(name string, data []byte, getenv func(string) string, above func(*Config, *faults)) (Config, error) {
	faults := newFaults(name)
	c := DefaultConfig()
	decodeConfig(faults, data, &c)
	if above != nil {
		above(&c, faults)
	}
	c.check(faults)
	c.readFiles(faults, getenv)
	if err := faults.err(); err != nil {
		return Config{}, err
	}
	c.doubt(faults)
	sortByLine(faults.warnings)
	for _, w := range faults.warnings {
		c.Warnings = append(c.Warnings, w.String())
	}
	return c, nil
}
