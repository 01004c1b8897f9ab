#!/usr/bin/env bash
# Builds the training image from a clean commit and pushes it to Amazon ECR; docs/push.md says more.
#
#   ./build_and_push.sh cpu|gpu [--dry-run]
#
# Standard output is the image's URI alone, so that uri=$(./build_and_push.sh gpu) works; all else
# goes to standard error. --dry-run says what would be done and changes nothing.
#
# Environment: AWS_REGION or AWS_DEFAULT_REGION, AWS_PROFILE and what else the aws command reads;
# REPOSITORY (roof-model); BASE_IMAGE and TORCH_INDEX_URL, see the Dockerfiles.
#
# Exit status: 0 pushed, or there already; 2 wrong input or environment; 1 anything else.
set -euo pipefail
cd "$(dirname "$0")"

repository=${REPOSITORY:-roof-model}
expected_type=application/vnd.docker.distribution.manifest.v2+json
revision_label=org.opencontainers.image.revision
standin_label='docker-up.standin'

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

# ------------------------------------------------------------------ helpers

say() { printf 'build_and_push: %s\n' "$*" >&2; }

die() { # exit status, words of the message
    local status=$1
    shift
    say "$@"
    exit "$status"
}

# What went wrong: the first line with words in it that a command wrote to this file.
errors=$scratch/errors
reason() { sed -n '/./{p;q;}' "$errors"; }

# Runs a command that changes something; a dry run only names it.
change() {
    if [ -n "$dry_run" ]; then
        say "would run:$(printf ' %q' "$@")"
    else
        "$@" >&2
    fi
}

# ------------------------------------------------------------ what to build

read_arguments() {
    local word usage='usage: ./build_and_push.sh cpu|gpu [--dry-run]'
    variant=
    dry_run=
    for word in "$@"; do
        case $word in
            cpu | gpu)
                [ -z "$variant" ] || die 2 "two variants, $variant and $word, expected one; $usage"
                variant=$word
                ;;
            --dry-run) dry_run=yes ;;
            --help | -h)
                sed -n '2,/^set /{/^#/s/^# \{0,1\}//p;}' "$0"
                exit 0
                ;;
            *) die 2 "unknown word '$word'; $usage" ;;
        esac
    done
    [ -n "$variant" ] || die 2 "no variant, expected cpu or gpu; $usage"
}

check_tools() {
    local tool missing=
    for tool in aws curl docker git; do
        command -v "$tool" >/dev/null || missing+=" $tool"
    done
    [ -z "$missing" ] || die 2 "commands not found:$missing; install them"
}

# A tag names a commit, so the image must be made of that commit and nothing else.
read_commit() {
    local changes version
    revision=$(git rev-parse --verify HEAD 2>"$errors") ||
        die 2 "no git commit here ($(reason)), expected a checkout;" \
            "clone the repository and push from there"
    changes=$(git status --porcelain --untracked-files=normal)
    [ -z "$changes" ] ||
        die 2 "the work tree differs from its commit in $(grep -c . <<<"$changes") paths, first:" \
            "$(head -n 5 <<<"$changes" | cut -c 4- | paste -s -d ' ' -);" \
            "commit, stash or remove them"
    version=$(sed -n 's/^version = "\([^"]*\)".*/\1/p' pyproject.toml)
    tag=$version-${revision:0:12}-$variant
    [[ $tag =~ ^[A-Za-z0-9_][A-Za-z0-9._-]*$ ]] ||
        die 1 "version '$version' in pyproject.toml makes no tag, expected letters, digits, '.'," \
            "'_' and '-'; change the version"
}

# ------------------------------------------------------------ where it goes

read_region() {
    region=${AWS_REGION:-${AWS_DEFAULT_REGION:-$(aws configure get region || true)}}
    [ -n "$region" ] ||
        die 2 "no AWS region in AWS_REGION, AWS_DEFAULT_REGION or the profile, expected the one" \
            "where training jobs run; name it: AWS_REGION=REGION ./build_and_push.sh $variant"
    # Version 1 of the aws command reads only the second.
    export AWS_REGION=$region AWS_DEFAULT_REGION=$region
}

read_registry() {
    local identity arn partition suffix
    identity=$(aws sts get-caller-identity --query '[Account,Arn]' --output text 2>"$errors") ||
        die 2 "AWS does not know who calls ($(reason)), expected valid credentials;" \
            "log in, or set AWS_PROFILE"
    read -r account arn <<<"$identity"
    IFS=: read -r _ partition _ <<<"$arn"
    case $partition in
        aws | aws-us-gov) suffix=amazonaws.com ;;
        aws-cn) suffix=amazonaws.com.cn ;;
        aws-eusc) suffix=amazonaws.eu ;;
        aws-iso) suffix=c2s.ic.gov ;;
        aws-iso-b) suffix=sc2s.sgov.gov ;;
        *) die 2 "unknown AWS partition '$partition'; add its DNS suffix to read_registry" ;;
    esac
    registry=$account.dkr.ecr.$region.$suffix
    uri=$registry/$repository:$tag
}

# Sets mutability, of the repository's tags; empty where there is no repository yet.
read_repository() {
    if ! mutability=$(aws ecr describe-repositories --repository-names "$repository" \
        --query 'repositories[0].imageTagMutability' --output text 2>"$errors"); then
        grep -q RepositoryNotFoundException "$errors" ||
            die 2 "cannot look up ECR repository $repository ($(reason));" \
                "allow what docs/push.md lists, or name another: REPOSITORY=NAME"
        mutability=
    fi
    case $mutability in
        '' | IMMUTABLE*) ;;
        *) say "warning: tags of $repository can be overwritten, so a job may run another image" \
            "than its tag says; aws ecr put-image-tag-mutability --region $region" \
            "--repository-name $repository --image-tag-mutability IMMUTABLE" ;;
    esac
}

report() {
    say "account     $account"
    say "region      $region"
    say "repository  $repository, ${mutability:-to be made: IMMUTABLE, scanned on push}"
    say "commit      $revision"
    say "tag         $tag"
    say "URI         $uri"
}

# ---------------------------------------------------------------- the image

check_engine() {
    docker version --format '{{.Server.Version}}' >/dev/null 2>"$errors" ||
        die 2 "no Docker engine answers ($(reason)); start one"
}

build() {
    # One image of Docker's media types, not an index of image and attestations. The variable and
    # the option each reach clients that the other does not.
    local variables=(DOCKER_BUILDKIT=1 BUILDX_NO_DEFAULT_ATTESTATIONS=1) options=()
    if [[ $(docker build --help) == *--provenance* ]]; then
        options+=(--provenance=false --output "type=docker,oci-mediatypes=false")
    fi
    if [ -n "${BASE_IMAGE:-}" ]; then options+=(--build-arg "BASE_IMAGE=$BASE_IMAGE"); fi
    # Set but empty means pip's default index.
    if [ -n "${TORCH_INDEX_URL+set}" ]; then
        options+=(--build-arg "TORCH_INDEX_URL=$TORCH_INDEX_URL")
    fi
    change env "${variables[@]}" docker build \
        --platform linux/amd64 --file "Dockerfile.$variant" --tag "$uri" \
        --build-arg "REVISION=$revision" ${options[@]+"${options[@]}"} . ||
        die 1 "cannot build Dockerfile.$variant, see above"
}

# Whether all of the registry's addresses are this machine's own; no, where there is no telling.
registry_is_local() {
    local addresses
    addresses=$(getent ahosts "$registry" 2>/dev/null | cut -d ' ' -f 1) || return 1
    [ -n "$addresses" ] && ! grep -qvE '^(127\.|::1$)' <<<"$addresses"
}

check_image() {
    local facts architecture built_from standin
    facts=$(docker image inspect "$uri" --format "{{.Architecture}}|{{with .Config.Labels}}{{
        index . \"$revision_label\"}}|{{index . \"$standin_label\"}}{{end}}")
    IFS='|' read -r architecture built_from standin <<<"$facts"
    [ "$architecture" = amd64 ] ||
        die 1 "the image is for $architecture, expected amd64, which SageMaker runs;" \
            "let Dockerfile.$variant follow --platform"
    [ "$built_from" = "$revision" ] ||
        die 1 "the image's label $revision_label is '$built_from', expected $revision;" \
            "let Dockerfile.$variant set it from REVISION"
    if [ -n "$standin" ] && ! registry_is_local; then
        die 2 "the image is built on a local stand-in for $standin, expected the real one, which" \
            "others can check and get updates of; build where it can be pulled, or set BASE_IMAGE"
    fi
}

# ------------------------------------------------------------- the registry

read_token() {
    token=$(aws ecr get-login-password 2>"$errors") ||
        die 2 "no login for ECR ($(reason)); allow ecr:GetAuthorizationToken"
}

# Sets media_type, of what the registry has under the tag; empty where it has nothing. Not asked
# with docker: older clients say of a type that they do not know that there is nothing.
read_media_type() {
    local accept=() answer type
    for type in "$expected_type" application/vnd.docker.distribution.manifest.list.v2+json \
        application/vnd.oci.image.manifest.v1+json application/vnd.oci.image.index.v1+json; do
        accept+=(--header "Accept: $type")
    done
    # The token comes in by standard input, where no list of processes shows it.
    answer=$(printf 'user = "AWS:%s"\n' "$token" |
        curl --config - --silent --show-error --max-time 60 --retry 3 --head "${accept[@]}" \
            --output /dev/null --write-out '%{http_code} %{content_type}' \
            "https://$registry/v2/$repository/manifests/$tag" 2>"$errors") ||
        die 2 "cannot reach $registry ($(reason)); check the network and the region"
    case $answer in
        200\ *) media_type=${answer#200 } ;;
        404\ *) media_type= ;;
        *) die 2 "$registry answers with HTTP status ${answer%% *} for $repository:$tag, expected" \
            "200 or 404; allow what docs/push.md lists" ;;
    esac
}

# SageMaker refuses OCI manifests and indexes, but only once a job is to start.
check_media_type() {
    [ "$media_type" = "$expected_type" ] ||
        die 1 "the manifest of $uri is of type ${media_type:-none}, expected $expected_type, the" \
            "only one SageMaker takes; turn off Docker's containerd image store, remove the tag" \
            "(aws ecr batch-delete-image --region $region --repository-name $repository" \
            "--image-ids imageTag=$tag) and push again"
}

make_repository() {
    [ -z "$mutability" ] || return 0
    change aws ecr create-repository --repository-name "$repository" \
        --image-scanning-configuration scanOnPush=true --image-tag-mutability IMMUTABLE \
        --query repository.repositoryArn --output text && return 0
    # Another push may have made it meanwhile, which is as good.
    read_repository
    [ -n "$mutability" ] ||
        die 2 "cannot make ECR repository $repository, see above;" \
            "allow ecr:CreateRepository, or have it made for you"
}

# Docker keeps a token, good for twelve hours, in its configuration: here one that ends with this
# script. Only the push has it; a build needs the plugins and builders in the user's own.
log_in() {
    # The new configuration knows no contexts, so the engine must be named.
    DOCKER_HOST=$(docker context inspect --format '{{.Endpoints.docker.Host}}')
    DOCKER_CONFIG=$scratch/docker
    export DOCKER_HOST DOCKER_CONFIG
    unset DOCKER_CONTEXT
    mkdir "$DOCKER_CONFIG"
    # With an entry in it already, docker does not look for a keychain to put the token into.
    printf '{"auths": {"%s": {}}}\n' "$registry" >"$DOCKER_CONFIG/config.json"
    printf '%s\n' "$token" |
        docker login --username AWS --password-stdin "$registry" >/dev/null 2>"$errors" ||
        die 1 "docker cannot log in to $registry ($(reason)); check the engine's network"
}

push() {
    change docker push "$uri" ||
        die 1 "cannot push $uri, see above; the same command again sends only what is missing"
}

# --------------------------------------------------------------------- main

read_arguments "$@"
check_tools
read_commit
read_region
read_registry
read_repository
report
if [ -n "$dry_run" ]; then
    say 'where the repository has no such tag yet:'
    build
    make_repository
    push
else
    read_token
    read_media_type
    if [ -n "$media_type" ]; then
        say 'the tag is there already: nothing to push'
    else
        check_engine
        build
        check_image
        make_repository
        log_in
        push
        read_media_type
    fi
    check_media_type
fi
printf '%s\n' "$uri"
