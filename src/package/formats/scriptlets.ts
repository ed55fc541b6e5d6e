import type { PackagePlan } from "../package-plan.ts";
import { activationScript } from "./activation-script.ts";
import { shellWord } from "./escape.ts";

/** Scripts of a package, by the names that its manager uses. Empty where there is nothing to do. */
export interface Scriptlets {
  readonly before: string;
  readonly after: string;
  readonly beforeRemoval: string;
  readonly afterRemoval: string;
}

/**
 * Scripts of an RPM. rpm calls them with the number of instances that will be there afterwards: 1 is an installation, more an upgrade, 0 a removal;
 * a failing %pre keeps the package out, the others never fail.
 */
export function rpmScriptlets(plan: PackagePlan): Scriptlets {
  return {
    before: script(plan, '[ "$1" -ge 2 ] && refuse_downgrade\nexit 0'),
    after: script(plan, "install_modules || :\nexit 0"),
    beforeRemoval: script(plan, '[ "$1" -eq 0 ] && remove_modules || :\nexit 0'),
    afterRemoval: script(plan, '[ "$1" -eq 0 ] && forget || :\nexit 0'),
  };
}

/** Scripts of a deb (Debian Policy chapter 6). dpkg knows both versions, so its own comparison decides what a downgrade is. */
export function debScriptlets(plan: PackagePlan): Scriptlets {
  const refuse = `if [ "$1" = upgrade ] && dpkg --compare-versions "\${2:-0}" gt "$version"; then downgrade_refused "$2"; fi\nexit 0`;
  return {
    before: script(plan, refuse),
    after: script(plan, '[ "$1" = configure ] && install_modules || :\nexit 0'),
    beforeRemoval: script(plan, '[ "$1" = remove ] && remove_modules || :\nexit 0'),
    afterRemoval: script(plan, 'case "$1" in remove|purge) forget || : ;; esac\nexit 0'),
  };
}

function script(plan: PackagePlan, end: string): string {
  const rows = plan.modules.map(({ release, name, payload, staged, finished }) =>
    [
      ...[release, name, payload, staged, finished?.noteSha256 || "-", finished?.kernelBuildId || "-"],
      [...(finished?.targetBuilds ?? [])].map(([target, id]) => `${target}:${id}`).join(",") || "-",
    ].join(" "),
  );
  const settings = [
    `package=${shellWord(plan.debName)}`,
    `version=${shellWord(`${plan.version}-${plan.release}`)}`,
    `activate=${plan.activate ? "yes" : "no"}`,
    `modules=${shellWord(rows.join("\n"))}`,
  ];
  return `${settings.join("\n")}\n${activationScript}\n${end}\n`;
}
