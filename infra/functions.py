"""One gen2 function a step, deployed over HTTP from its bundle, run as its own account."""

from __future__ import annotations

import pulumi
from geminivideo.topology import FUNCTIONS, Https, Queue, StepSpec, Topic, variable_of
from pulumi_gcp import cloudfunctionsv2, cloudrunv2

from infra.access import Access
from infra.accounts import Accounts
from infra.apis import Apis
from infra.buckets import Buckets
from infra.bundle import Bundle
from infra.concern import Concern
from infra.images import Images
from infra.settings import ENTRY_POINT, RUNTIME, Deployment
from infra.vault import Vault, secrets_of


class Functions(Concern):
    """Every function of the map, and who may call it."""

    def __init__(
        self,
        deployment: Deployment,
        apis: Apis,
        accounts: Accounts,
        access: Access,
        buckets: Buckets,
        images: Images,
        vault: Vault,
        bundles: dict[str, Bundle],
        environment: dict[str, pulumi.Input[str]],
    ) -> None:
        super().__init__("functions", apis.of("cloudbuild", "cloudfunctions", "run"))
        self._deployment = deployment
        self._accounts = accounts
        self._access = access
        self._buckets = buckets
        self._images = images
        self._vault = vault
        self._environment = environment
        self._functions = {s.name: self._function(s, bundles[s.name]) for s in FUNCTIONS}
        self._invokers = {s.name: self._let_invoke(s) for s in FUNCTIONS}
        self.register_outputs({})

    def url(self, step: StepSpec) -> pulumi.Output[str]:
        """The function's run.app URL: its address, and the audience of tokens for it."""
        return self._functions[step.name].service_config.apply(lambda config: config.uri)

    def invoker(self, step: StepSpec) -> cloudrunv2.ServiceIamMember:
        """The right to call a step that is woken by Google."""
        return self._invokers[step.name][0]

    def _function(self, step: StepSpec, bundle: Bundle) -> cloudfunctionsv2.Function:
        return cloudfunctionsv2.Function(
            f"function-{step.resource_name}",
            name=step.resource_name,
            project=self._deployment.project,
            location=self._deployment.region,
            build_config=self._build(bundle),
            service_config=self._service(step),
            opts=self.child(
                *self._images.ready, *self._access.granted[step.name], *self._secret_access(step)
            ),
        )

    def _build(self, bundle: Bundle) -> cloudfunctionsv2.FunctionBuildConfigArgs:
        archive = self._buckets.upload(bundle)
        return cloudfunctionsv2.FunctionBuildConfigArgs(
            runtime=RUNTIME,
            entry_point=ENTRY_POINT,
            service_account=self._images.builder.name,
            docker_repository=self._images.repository.id,
            source=cloudfunctionsv2.FunctionBuildConfigSourceArgs(
                storage_source=cloudfunctionsv2.FunctionBuildConfigSourceStorageSourceArgs(
                    bucket=archive.bucket, object=archive.name
                )
            ),
        )

    def _service(self, step: StepSpec) -> cloudfunctionsv2.FunctionServiceConfigArgs:
        public = isinstance(step.wakes_on, Https)
        return cloudfunctionsv2.FunctionServiceConfigArgs(
            available_memory=f"{step.memory_mib}Mi",
            available_cpu=f"{step.cpu:g}",
            max_instance_request_concurrency=step.concurrency,
            timeout_seconds=step.timeout_s,
            min_instance_count=0,
            max_instance_count=step.max_instances,
            ingress_settings="ALLOW_ALL" if public else "ALLOW_INTERNAL_ONLY",
            service_account_email=self._accounts.steps[step.name].email,
            environment_variables={**self._environment, "GV_STEP": step.name},
            secret_environment_variables=self._secrets(step),
        )

    def _secrets(
        self, step: StepSpec
    ) -> list[cloudfunctionsv2.FunctionServiceConfigSecretEnvironmentVariableArgs] | None:
        return [
            cloudfunctionsv2.FunctionServiceConfigSecretEnvironmentVariableArgs(
                key=variable_of(need),
                project_id=self._deployment.project,
                secret=self._vault.secrets[need].secret_id,
                version="latest",
            )
            for need in secrets_of(step)
        ] or None

    def _secret_access(self, step: StepSpec) -> list[pulumi.Resource]:
        """Cloud Run refuses a revision whose account cannot read its secrets yet."""
        versions = [self._vault.versions[need] for need in secrets_of(step)]
        return [*self._vault.ready(step), *versions]

    def _let_invoke(self, step: StepSpec) -> list[cloudrunv2.ServiceIamMember]:
        return [
            cloudrunv2.ServiceIamMember(
                f"invoke-{step.resource_name}-{number}",
                project=self._deployment.project,
                location=self._deployment.region,
                name=self._functions[step.name].name,
                role="roles/run.invoker",
                member=member,
                opts=self.child(),
            )
            for number, member in enumerate(self._callers(step))
        ]

    def _callers(self, step: StepSpec) -> list[pulumi.Input[str]]:
        match step.wakes_on:
            case Topic():
                return [self._accounts.push.member]
            case Queue():
                return [self._accounts.tasks.member]
            case _:
                return ["allUsers"] if step.public else list(self._deployment.callers)
