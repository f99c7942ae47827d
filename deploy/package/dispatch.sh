#!/bin/sh
# `gaitway agent …`, `gaitway relay …`, `gaitway sink …` where only packages of single services are installed. The package gaitway has the
# rest of the commands, and takes this one's place.
here() {
    cd /usr/bin && echo gaitway-*
}
case ${1-} in
agent | relay | sink)
    service=gaitway-$1
    if command -v "$service" >/dev/null; then
        shift
        exec "$service" "$@"
    fi
    echo "gaitway: the package $service is not installed: it has this command, and the package gaitway has all of them" >&2
    ;;
-V | --version)
    for service in $(here); do
        "$service" --version
    done
    exit
    ;;
"" | -h | --help | help)
    echo "Usage: gaitway agent|relay|sink …"
    echo "What is installed here: $(here). The package gaitway has all commands."
    [ $# -gt 0 ] && exit
    ;;
*)
    echo "gaitway: the package gaitway has this command; of what is installed here: $(here)" >&2
    ;;
esac
exit 1
