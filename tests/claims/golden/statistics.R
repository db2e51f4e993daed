# Prints the values of statistics.json that come from R. Run with R 4.2.2, BayesFactor 0.9.12, lme4 1.1 and sandwich 3.0:
# Rscript tests/claims/golden/statistics.R
suppressMessages({library(BayesFactor); library(lme4); library(sandwich)})
options(digits = 10)
drug1 <- sleep$extra[sleep$group == 1]
drug2 <- sleep$extra[sleep$group == 2]
show <- function(name, ...) cat(name, ":", format(c(...)), "\n")

paired <- t.test(drug1, drug2, paired = TRUE)
show("paired_t difference, p, low, high", paired$estimate, paired$p.value, paired$conf.int)
welch <- t.test(extra ~ group, data = sleep)
show("welch p, low, high", welch$p.value, welch$conf.int)
for (r in c(.5, .707, 1))
  show(paste("bayes_factor r", r), ttest.tstat(t = paired$statistic, n1 = 10, rscale = r, simple = TRUE))
for (n in c(3, 5, 10, 50)) for (t in c(.3, 2, 5))  # at large t the package takes an approximation
  show(paste("bayes_factors", n, t), sapply(c(.5, .707, 1), function(r) ttest.tstat(t, n, rscale = r, simple = TRUE)))

# Hedges' g_av, and the interval of the true d_av from that of the noncentrality (Algina & Keselman 2003)
scale <- sqrt(2 * var(drug1 - drug2) / (10 * (var(drug1) + var(drug2))))
limit <- function(share) uniroot(function(nc) pt(paired$statistic, 9, nc) - share, c(-12, 4), tol = 1e-10)$root
show("hedges_g g", (1 - 3 / (8 * 10 - 9)) * scale * paired$statistic)
show("hedges_g low, high", scale * limit(.975), scale * limit(.025))

tost <- c(t.test(drug1, drug2, paired = TRUE, mu = 3, alternative = "less")$p.value,
          t.test(drug1, drug2, paired = TRUE, mu = -3, alternative = "greater")$p.value)
show("tost p, low90, high90", max(tost), t.test(drug1, drug2, paired = TRUE, conf.level = .9)$conf.int)

darwin <- c(49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)
sums <- as.matrix(expand.grid(rep(list(c(-1, 1)), 15))) %*% darwin
show("darwin sums as great, p", sum(sums >= sum(darwin)), mean(abs(sums) >= sum(darwin)))
show("holm", p.adjust(1:5 / 100, "holm"))
for (rate in list(c(81, 263), c(15, 148), c(0, 20), c(1, 29)))
  show("wilson", prop.test(rate[1], rate[2], correct = FALSE)$conf.int)
show("power n", power.t.test(delta = .5, power = .8, type = "paired")$n)
show("power", power.t.test(n = 34, delta = .5, type = "paired", strict = TRUE)$power)
for (n in c(3, 4, 5, 6, 8, 10, 15, 20))
  show(paste("detectable", n), power.t.test(n = n, power = .8, type = "paired", strict = TRUE, tol = 1e-10)$delta)
for (alpha in c(.025, .05 / 13, .001)) for (n in c(3, 5, 10))  # R's pt is an approximation where sqrt(n) dz > 37.62
  show(paste("detectable_at", alpha, n), power.t.test(n = n, power = .8, sig.level = alpha, type = "paired",
                                                      strict = TRUE, tol = 1e-10)$delta)
show("iqm", mean(c(1:7, 100), trim = .25))
show("kendall_w", friedman.test(rbind(1:4, c(1, 2, 4, 3), c(2, 1, 3, 4)))$statistic / 9)

# Crossed effects: 24 plates x 6 samples
crossed <- lmer(diameter ~ 1 + (1 | plate) + (1 | sample), Penicillin)
show("penicillin mean, mixed_se", fixef(crossed), sqrt(vcov(crossed)[1]))
fit <- lm(diameter ~ 1, Penicillin)
show("penicillin se by sample", sqrt(vcovCL(fit, ~ sample, type = "HC0")))
show("penicillin se two-way", sqrt(vcovCL(fit, ~ plate + sample, type = "HC0")))
cat(t(xtabs(diameter ~ plate + sample, Penicillin)), sep = ",")
cat("\n")
