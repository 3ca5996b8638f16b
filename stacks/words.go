// SPDX-License-Identifier: AGPL-3.0-or-later

package stacks

// commonWords are of both files.
func commonWords() []words {
	return []words{
		{"stack.problem.file-missing", "the file is not there", "Add {file} to the stack's folder"},
		{"stack.problem.file-unreadable", "the file cannot be read: {reason}", "Make {file} a plain file that you may read"},
		{"stack.problem.file-size", "the file is larger than {limit}", "Shorten it; data belongs in volumes, not in {file}"},
		{"stack.problem.yaml", "this is not YAML: {reason}", "Correct the line; two spaces indent, never a tab"},
		{"stack.problem.documents", "the file holds more than one document", "Keep one document and remove the line ---"},
		{"stack.problem.empty", "the file is empty", "Start from the stack format's example"},
		{"stack.problem.nodes", "the file has more than {limit} values", "Shorten it"},
		{"stack.problem.alias", "anchors and aliases hide what a line means", "Write the value out"},
		{"stack.problem.tag", "the tag {tag} is not known here", "Remove the tag"},
		{"stack.problem.unknown-key", "{key} is not known here", "Use one of: {known}"},
		{"stack.problem.maybe-key", "{key} is not known here", "Write {nearest}"},
		{"stack.problem.duplicate-key", "{key} stands here a second time; the first is in line {first}", "Keep one of them"},
		{"stack.problem.missing", "{key} is missing", "Add {key}"},
		{"stack.problem.want-mapping", "{key} should hold keys with values", "Write a line such as key: value below it for each"},
		{"stack.problem.want-list", "{key} should be a list", "Write it in brackets, as in [one, two]"},
		{"stack.problem.want-text", "{key} should be text", "Write the text after the colon"},
		{"stack.problem.want-number", "{key} should be a number", "Write digits without quotes"},
		{"stack.problem.want-bool", "{key} should be true or false", "Write true or false without quotes"},
		{"stack.problem.quotes", "{key} should be text, and YAML reads {value} as something else", "Write it in quotes: \"{value}\""},
		{"stack.problem.range", "{key} is {value}, outside of {min} to {max}", "Choose a value from {min} to {max}"},
		{"stack.problem.count", "{key} has {count} entries; at most {max} are allowed", "Remove some entries"},
		{"stack.problem.choice", "{key} is {value}, which is none of the choices", "Use one of: {choices}"},
		{"stack.problem.name", "{key} has the name {value}", "Use small letters, digits and single hyphens, at most 31, a letter first"},
		{"stack.problem.variable-name", "{key} is not the name of an environment variable", "Use letters, digits and underscores, no digit first"},
		{"stack.problem.identifier", "{key} has the name {value}", "Use small letters, digits and underscores, at most 31, a letter first"},
		{"stack.problem.size", "{key} is {value}, which is not a size", "Write a whole number with K, M or G, such as 128M"},
		{"stack.problem.duration", "{key} is {value}, which is not a length of time", "Write a number with its unit, such as 10s or 2m"},
		{"stack.problem.text", "{key} is empty, too long, or has control characters", "Write plain text of 1 to {max} characters"},
	}
}

// manifestWords are of stack.yaml.
func manifestWords() []words {
	return []words{
		{"stack.problem.schema", "the file has schema {schema}; this program reads schema 1", "Update Rochdale, or write the stack in schema 1"},
		{"stack.problem.version", "{value} is not a version", "Write three numbers, such as 1.4.0, or 1.4.0-rc.1 before a release"},
		{"stack.problem.version-range", "{value} is not a range of versions", "Write it as in \">=1.2.0\""},
		{"stack.problem.language", "{language} is not a language code", "Use a two-letter code such as en, es or fr"},
		{"stack.problem.url-path", "{key} is {value}, which is not a path on the web", "Start with a slash, as in /healthz, without ? and #"},
		{"stack.problem.path", "{key} is {value}, which leads out of its folder", "Write a relative path without .. such as coop.db"},
		{"stack.problem.path-pattern", "{key} is {value}, which has a sign that stands for others", "Give the file a name without * ? [ ] and backslash, such as coop.db"},
		{"stack.problem.no-service", "{key} names the service {value}, which compose.yaml does not have", "Use one of: {known}"},
		{"stack.problem.no-volume", "{key} names the volume {value}, which compose.yaml does not have", "Declare it under volumes, or use one of: {known}"},
		{"stack.problem.no-database", "{key} names the database {value}, which the stack does not have", "Use one of: {known}"},
		{"stack.problem.no-file", "{key} names {value}, which is not in the stack", "Add the file, or correct the name"},
		{"stack.problem.no-folder", "{key} names the folder {value}, which is missing or has no .sql file", "Add the migrations, or correct the name"},
		{"stack.problem.migration-transaction", "this migration asks to run without a transaction", "Remove the line, and write the migration so that it can run in one transaction, or as several migrations that each can"},
		{"stack.problem.migration-commit", "{value} begins or ends a transaction", "Remove the line; each migration runs in a transaction of its own"},
		{"stack.problem.migration-go", "a migration is written in Go", "Write it in SQL, in a file that ends in .sql"},
		{"stack.problem.one-way", "{key} has both {one} and {other}, or neither", "Keep exactly one of them"},
		{"stack.problem.only-beside", "{key} is there without {other}", "Remove it, or add {other}"},
		{"stack.problem.command-service", "{key} names {value}, which can not write to the database {database}", "Use one of: {known}"},
		{"stack.problem.command-unclear", "{key} could run in several services: each can write to the database {value}", "Add service: with one of: {known}"},
		{"stack.problem.command-nowhere", "{key} has no service to run in: none can write to the database {value}", "Mount its volume in the service whose image has the program, without :ro"},
		{"stack.problem.not-for-engine", "{key} does not belong to a database with the engine {engine}", "Remove it, or change the engine"},
		{"stack.problem.database-unnamed", "{key} is in a server, and no service is told its name", "Pass the name under environment of the service that uses it, as in DATABASE: {value}"},
		{"stack.problem.database-second", "{key} is a second database with the engine postgres, beside {value}", "Keep one of them; a database can have several schemas"},
		{"stack.problem.database-immutable", "{key} is immutable, and the database {value} is in it", "Remove immutable, or give the database a volume of its own"},
		{"stack.problem.database-web", "{key} names {value}, which runs a database", "Name the service that people reach"},
		{"stack.problem.setting-key", "{key} is not the key of a setting", "Use small letters and digits with dots between, such as fees.commission.percent"},
		{"stack.problem.setting-choices", "{key} has choices and is of another type, or the other way round", "List choices if, and only if, the type is choice"},
		{"stack.problem.sql", "{key} is not one select statement", "Write one select that gives one number, without a semicolon"},
	}
}

// composeWords are of compose.yaml.
func composeWords() []words {
	return append(refusedWords(),
		words{"stack.problem.not-allowed", "{key} is not allowed in a stack", "Remove it; allowed here: {known}"},
		words{"stack.problem.no-services", "there is no service", "Add at least one service with an image"},
		words{"stack.problem.image", "{value} is not the name of an image", "Write a name that images.lock has, such as coop; registry, tag and digest stand in images.lock"},
		words{"stack.problem.variable", "{value} has a variable that a stack does not get", "Use one of: {known}; write $$ for a dollar sign"},
		words{"stack.problem.variable-place", "{key} has a dollar sign, and variables are only filled in under environment", "Pass the value to the program as an environment variable"},
		words{"stack.problem.no-value", "{key} has no value, so it would be read from the machine", "Write the value, or \"\" for an empty one"},
		words{"stack.problem.volume-form", "{value} is not a volume of the stack and where it goes", "Write volume:/path or volume:/path:ro, with the volume declared under volumes"},
		words{"stack.problem.target", "{key} is mounted at {value}", "Use an absolute path outside of /, /proc, /sys, /dev, /etc and /run, once in a service"},
		words{"stack.problem.tmpfs", "{value} is not a folder in memory", "Write a path and a size up to {max}, such as /tmp:size=16M"},
		words{"stack.problem.read-only", "{key} asks for a writable root", "Remove the line; put data into a volume and scratch files into tmpfs"},
		words{"stack.problem.health-form", "{key} is not a command with its arguments", "Write [CMD, /program, argument]; there may be no shell in the image"},
		words{"stack.problem.database-health", "{key} runs a database and has no healthcheck", "Add one that asks over the network, such as test: [CMD, pg_isready, -h, 127.0.0.1]"},
		words{"stack.problem.database-variable", "{key} uses {value}, which is for services beside a PostgreSQL of the stack's own", "Remove it"},
		words{"stack.problem.database-waits", "{key} makes a database wait for {value}", "Remove it; a database starts before every other service"},
		words{"stack.problem.database-volume", "{key} runs a database and has no volume to write to", "Mount a volume where the database keeps its files"},
		words{"stack.problem.database-volume-shared", "{key} uses {value}, a volume of the database that runs in {service}", "Use a volume of its own"},
		words{"stack.problem.no-dependency", "{key} waits for the service {value}, which does not exist", "Use one of: {known}"},
		words{"stack.problem.cycle", "services wait for each other: {cycle}", "Remove one depends_on of the circle"},
		words{"stack.problem.rejected", "the file breaks the Compose specification: {reason}", "Correct the line as the specification says"},
	)
}

func refusedWords() []words {
	return []words{
		{"stack.problem.privileged", "{key} would give a container the whole machine", "Remove the line; a stack runs without privileges"},
		{"stack.problem.host-namespace", "{key} would share a namespace of the machine or of another container", "Remove the line; services of a stack reach each other by name"},
		{"stack.problem.devices", "{key} would hand over devices of the machine", "Remove the line; a stack has no devices"},
		{"stack.problem.capabilities", "{key} would give back rights that are taken from every container", "Remove the line; use a port above 1023 and the stack's own user"},
		{"stack.problem.security", "{key} would change how containers are locked in", "Remove the line; the appliance sets it for every container"},
		{"stack.problem.kernel", "{key} would change settings of the kernel", "Remove the line; say in the stack's README what the machine should have"},
		{"stack.problem.bind", "{value} is a folder or file of the machine", "Declare a volume under volumes and write volume:/path"},
		{"stack.problem.docker-socket", "{value} would let a container command the whole machine", "Remove the line; nothing in a stack may talk to Docker"},
		{"stack.problem.volume-options", "{key} has options of its own", "Write the volume as a name followed by a colon and nothing else"},
		{"stack.problem.other-volumes", "{key} would take volumes of another container", "List the volumes that the service needs under its own volumes"},
		{"stack.problem.ports", "{key} would open ports of the machine", "Remove the line; name the service and its port under web in stack.yaml"},
		{"stack.problem.secrets", "{key} would read files or variables of the machine", "Remove the lines; use settings in stack.yaml and variables under environment"},
		{"stack.problem.build", "{key} would build or choose an image on the machine", "Remove the line; write image: with a name that images.lock has"},
		{"stack.problem.networks", "{key} would change the network", "Remove the lines; every stack has one network of its own, and services reach each other by name"},
		{"stack.problem.names", "{key} would fix a name that the appliance gives", "Remove the line; services reach each other by their service names"},
		{"stack.problem.supervision", "{key} is for the appliance to decide", "Remove the line; the appliance starts, watches and restarts every container"},
		{"stack.problem.deploy", "{key} is for clusters", "Use mem_limit, cpus and pids_limit of the service"},
		{"stack.problem.user", "{key} would change who the container runs as", "Remove the line; user in stack.yaml is for all containers and their data"},
		{"stack.problem.env-file", "{key} would read a file of the machine", "Write the variables under environment"},
		{"stack.problem.other-files", "{key} would read other files", "Write everything into this compose.yaml"},
		{"stack.problem.stack-name", "{key} does not belong here", "Remove the line; name and schema stand in stack.yaml"},
	}
}
