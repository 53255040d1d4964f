// Package schemas holds the JSON Schema of the data of every event, of the
// configuration, and a description of the whole interface in asyncapi.yaml.
// They are the contract with other programs: a change that refuses what was
// allowed needs a new version, in the file's name and in the event type.
package schemas
