# docker buildx bake -f deploy/images/docker-bake.hcl            builds all images for this machine's builders
# REGISTRY=registry.example.org/gaitway VERSION=0.1.0 docker buildx bake -f deploy/images/docker-bake.hcl --push
variable "REGISTRY" { default = "" }
variable "VERSION" { default = "0.1.0" }
variable "REVISION" { default = "unknown" }

function "tags" {
  params = [name]
  result = REGISTRY == "" ? ["${name}:${VERSION}"] : ["${REGISTRY}/${name}:${VERSION}"]
}

group "default" {
  targets = ["gaitway", "agent", "relay", "sink"]
}

target "common" {
  context    = "."
  dockerfile = "deploy/images/Dockerfile"
  args = {
    VERSION  = VERSION
    REVISION = REVISION
  }
  platforms = ["linux/amd64", "linux/arm64"]
}

target "gaitway" {
  inherits = ["common"]
  target   = "gaitway"
  tags     = tags("gaitway")
}

target "agent" {
  inherits  = ["common"]
  target    = "agent"
  tags      = tags("gaitway-agent")
  platforms = ["linux/amd64", "linux/arm64", "linux/arm/v7"]
}

target "relay" {
  inherits = ["common"]
  target   = "relay"
  tags     = tags("gaitway-relay")
}

target "sink" {
  inherits = ["common"]
  target   = "sink"
  tags     = tags("gaitway-sink")
}

target "connect" {
  inherits = ["common"]
  target   = "connect"
  tags     = tags("gaitway-connect")
}
