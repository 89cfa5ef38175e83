# SPDX-License-Identifier: Apache-2.0
#
# The table of tests/gpu/run from the rows that its programs wrote: one JSON object a
# line, its members written as "key": value by bench/rows.c and by the script itself.

function text(key) {
    if (!match($0, "\"" key "\": \"[^\"]*\""))
        return ""
    return substr($0, RSTART + length(key) + 5, RLENGTH - length(key) - 6)
}
function number(key) {
    if (!match($0, "\"" key "\": [-0-9.e+]+"))
        return ""
    return substr($0, RSTART + length(key) + 4, RLENGTH - length(key) - 4) + 0
}
function percent(share) { return share == "" ? "?" : sprintf("%.0f%%", 100 * share) }

{ kind = text("kind") }
kind == "device" { device = text("name") }
kind == "ceilings" {
    printf "device %s: reads %.2f TB/s, copies %.2f TB/s, bf16 products %.0f TFLOP/s\n", device,
        number("read_bytes_per_s") / 1e12, number("copy_bytes_per_s") / 1e12,
        number("flops_per_s") / 1e12
}
kind == "kernel" {
    # least, median and greatest share of the floor's speed over models, by kernel
    name = sprintf("%-17s %-8s", text("kernel"), text("how"))
    rows = number("rows")
    group = rows < 8 ? "1-7" : rows < 64 ? "8-63" : rows <= 512 ? "64-512" : "more"
    share = number("fraction")
    if (share == "")
        next
    if (!(name in seen_kernel)) {
        seen_kernel[name] = 1
        kernel_names[++num_kernels] = name
    }
    key = name SUBSEP group
    if (!(key in least) || share < least[key]) {
        least[key] = share
        least_at[key] = text("model") " " rows (number("context") > 0 ? "x" number("context") : "")
    }
    if (!(key in most) || share > most[key])
        most[key] = share
    if (number("predicted_us") != "") {
        told++
        held += number("median_us") <= 1.1 * number("predicted_us")
    }
    if (text("kernel") == "attention_decode" && rows >= 64 && number("context") >= 400 &&
        (attention_least == "" || share < attention_least))
        attention_least = share
}
kind == "decode" {
    model = text("model")
    batch = number("batch")
    if (!(model in seen_model)) {
        seen_model[model] = 1
        model_names[++num_models] = model
    }
    if (!(batch in seen_batch)) {
        seen_batch[batch] = 1
        batches[++num_batches] = batch
    }
    cells[model, batch] = sprintf("%.2f ms %s", number("median_ms"), percent(number("fraction")))
    speed[model, batch] = number("tokens_per_s")
}
kind == "left_out" {
    left[++num_left] = text("model") " " text("kernel") " " \
        (number("batch") != "" ? "batch " number("batch") " " : "") ": " text("why")
}
kind == "offline_floor" {
    floor_s[text("model")] = number("floor_s")
}
kind == "offline" && /"result": / {
    offline_names[++num_offline] = text("model")
    offline_speed[text("model")] = number("output_throughput")
    offline_s[text("model")] = number("elapsed_time")
    offline_words[text("model")] = text("words")
}
/"status": / {
    count[kind, text("status")]++
    if (!(kind in seen_program)) {
        seen_program[kind] = 1
        programs[++num_programs] = kind
    }
    if (text("status") != "passed")
        not_passed = not_passed sprintf("  %s %s: %s\n", kind, text("name"), text("status"))
}

END {
    for (i = 1; i <= num_programs; i++)
        printf "%s%s: %d passed, %d failed", (i > 1 ? "; " : ""), programs[i],
            count[programs[i], "passed"], count[programs[i], "failed"]
    printf "\n%s", not_passed
    if (num_kernels > 0) {
        print "\nkernels: least and greatest share of the speed that the ceilings allow, by rows"
        split("1-7 8-63 64-512 more", groups, " ")
        printf "%-26s", ""
        for (g = 1; g <= 4; g++)
            printf " %-32s", groups[g]
        print ""
        for (i = 1; i <= num_kernels; i++) {
            printf "%s", kernel_names[i]
            for (g = 1; g <= 4; g++) {
                key = kernel_names[i] SUBSEP groups[g]
                cell = ""
                if (key in least)
                    cell = percent(least[key]) " (" least_at[key] ") .. " percent(most[key])
                printf " %-32s", cell
            }
            print ""
        }
        if (told > 0)
            printf "%d of %d shapes take at most 1.1 times what was predicted for an H200\n",
                held, told
    }
    if (num_models > 0) {
        print "\ndecode step: time, and the floor's share of it"
        printf "%-12s", "batch"
        for (b = 1; b <= num_batches; b++)
            printf " %15d", batches[b]
        print ""
        for (m = 1; m <= num_models; m++) {
            printf "%-12s", model_names[m]
            for (b = 1; b <= num_batches; b++) {
                key = model_names[m] SUBSEP batches[b]
                cell = "-"
                if (key in cells)
                    cell = cells[key]
                printf " %15s", cell
            }
            print ""
        }
    }
    if (num_offline > 0)
        print "\noffline: output tokens a second, and the floor's share of the time"
    for (i = 1; i <= num_offline; i++) {
        m = offline_names[i]
        whole = offline_words[m] ~ /300 .* 100 .* 600$/ && floor_s[m] > 0
        printf "%-12s %10.0f tok/s %8.1f s %s\n", m, offline_speed[m], offline_s[m],
            (whole ? percent(floor_s[m] / offline_s[m]) : "(less than 300 x 100 + 600)")
    }
    if (device ~ /H200/) {
        print "\nbars of an H200"
        bar("llama-8b batch 1, tok/s", speed["llama-8b", 1], 200)
        bar("decode attention from 64 sequences, % of bandwidth", 100 * attention_least, 80)
        bar("llama-8b offline, tok/s", offline_speed["llama-8b"], 24000)
        bar("qwen-32b offline, tok/s", offline_speed["qwen-32b"], 7000)
    }
    for (i = 1; i <= num_left; i++)
        printf "%sleft out: %s\n", (i == 1 ? "\n" : ""), left[i]
}
function bar(what, value, wanted) {
    if (value + 0 > 0)
        printf "  %-52s %10.0f of %6d: %s\n", what, value, wanted,
            (value >= wanted ? "reached" : "MISSED")
}
