/* SPDX-License-Identifier: Apache-2.0 */
#include "config.h"

#include "base/opt.h"

#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/clean.h"

/* Go's strconv.ParseBool */
static int parse_bool(const char *text, bool *value)
{
	static const char *const yes[] = { "1", "t", "T", "true", "TRUE", "True" };
	static const char *const no[] = { "0", "f", "F", "false", "FALSE", "False" };

	for (size_t i = 0; i < SM_ARRAY_SIZE(yes); i++) {
		if (!strcmp(text, yes[i])) {
			*value = true;
			return 0;
		}
		if (!strcmp(text, no[i])) {
			*value = false;
			return 0;
		}
	}
	return -EINVAL;
}

static int parse_int(const char *text, int *value)
{
	char *end;
	long v;

	if (!*text || strchr(" \t\n\v\f\r", *text))
		return -EINVAL;
	errno = 0;
	v = strtol(text, &end, 0);
	if (*end)
		return -EINVAL;
	if (errno || v < INT_MIN || v > INT_MAX)
		return -ERANGE;
	*value = (int)v;
	return 0;
}

static const struct {
	const char *name;
	int64_t ns;
} duration_units[] = {	/* a name comes before those that are its beginning */
	{ "ns", 1 },
	{ "us", 1000 },
	{ "\u00b5s", 1000 },
	{ "\u03bcs", 1000 },
	{ "ms", 1000000 },
	{ "s", 1000000000 },
	{ "m", 60 * INT64_C(1000000000) },
	{ "h", 3600 * INT64_C(1000000000) },
};

/* "1.5" as a multiple of scale. */
static int parse_decimal(const char **text, int64_t scale, int64_t *value)
{
	const char *p = *text;
	int64_t whole = 0, part = 0, unit = scale;

	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(whole, 10, &whole) ||
		    __builtin_add_overflow(whole, *p - '0', &whole))
			return -ERANGE;
	if (*p == '.')
		for (p++; *p >= '0' && *p <= '9'; p++) {
			unit /= 10;
			part += (*p - '0') * unit;
		}
	*text = p;
	return __builtin_mul_overflow(whole, scale, value) ||
			       __builtin_add_overflow(*value, part, value) ?
		       -ERANGE :
		       0;
}

/* Go's time.ParseDuration */
static int parse_duration(const char *text, int64_t *value)
{
	bool negative = *text == '-';
	int64_t sum = 0, v;

	if (*text == '-' || *text == '+')
		text++;
	if (!strcmp(text, "0")) {
		*value = 0;
		return 0;
	}
	do {
		size_t digits = strspn(text, "0123456789.");
		size_t u = 0;
		int r;

		if (!digits || (digits == 1 && *text == '.') ||
		    memchr(text, '.', digits) != memrchr(text, '.', digits))
			return -EINVAL;
		while (u < SM_ARRAY_SIZE(duration_units) &&
		       strncmp(text + digits, duration_units[u].name,
			       strlen(duration_units[u].name)) != 0)
			u++;
		if (u == SM_ARRAY_SIZE(duration_units))
			return -EINVAL;
		r = parse_decimal(&text, duration_units[u].ns, &v);
		if (r < 0 || __builtin_add_overflow(sum, v, &sum))
			return -EINVAL;
		text += strlen(duration_units[u].name);
	} while (*text);
	*value = negative ? -sum : sum;
	return 0;
}

static int list_append(struct sm_opt_list *list, const char *text)
{
	const char **v = reallocarray(list->v, list->n + 1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	v[list->n++] = text;
	list->v = v;
	return 0;
}

void sm_opt_list_free(struct sm_opt_list *list)
{
	free(list->v);
	list->v = NULL;
	list->n = 0;
}

/* The row of a flag, given with one dash or two, by name or letter. */
static const struct sm_opt *find(const struct sm_opt *opts, const char *name, size_t len)
{
	for (const struct sm_opt *o = opts; o->name; o++) {
		if (strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
		if (o->letter && len == 1 && *name == o->letter)
			return o;
	}
	return NULL;
}

/* name and len: the flag as it was typed, which is how messages call it. */
static int assign(const struct sm_opt *o, const char *name, int len, const char *text,
		  struct sm_err *err)
{
	int r = 0;

	switch (o->type) {
	case SM_OPT_BOOL:
		if (parse_bool(text, o->value) < 0)
			return sm_err_set(err, -EINVAL,
					  "invalid boolean value \"%s\" for -%.*s: parse error",
					  text, len, name);
		break;
	case SM_OPT_STRING:
		*(const char **)o->value = text;
		break;
	case SM_OPT_LIST:
		r = list_append(o->value, text);
		if (r < 0)
			return sm_err_sys(err, r, "flag -%.*s", len, name);
		break;
	case SM_OPT_INT:
		r = parse_int(text, o->value);
		if (r < 0)
			return sm_err_set(err, -EINVAL, "invalid value \"%s\" for flag -%.*s: %s",
					  text, len, name,
					  r == -ERANGE ? "value out of range" : "parse error");
		break;
	case SM_OPT_DURATION:
		if (parse_duration(text, o->value) < 0)
			return sm_err_set(err, -EINVAL,
					  "invalid value \"%s\" for flag -%.*s: parse error", text,
					  len, name);
		break;
	case SM_OPT_NUM:
		return sm_err_set(err, -EINVAL, "flag -%.*s has no type", len, name);
	}
	return 0;
}

/* One flag; *i moves past a value that stands in an argument of its own. */
static int parse_flag(const struct sm_opt *opts, int argc, char **argv, int *i, struct sm_err *err)
{
	const char *arg = argv[*i];
	const char *name = arg + (arg[1] == '-' ? 2 : 1);
	size_t len = strcspn(name, "=");
	const char *value = name[len] ? name + len + 1 : NULL;
	const struct sm_opt *o;

	if (len == 0 || *name == '-')
		return sm_err_set(err, -EINVAL, "bad flag syntax: %s", arg);
	o = find(opts, name, len);
	if (!o)
		return sm_err_set(err, -EINVAL, "flag provided but not defined: -%.*s", (int)len,
				  name);
	if (!value && o->type == SM_OPT_BOOL)
		value = "true";
	if (!value && *i + 1 < argc)
		value = argv[++*i];
	if (!value)
		return sm_err_set(err, -EINVAL, "flag needs an argument: -%.*s", (int)len, name);
	return assign(o, name, (int)len, value, err);
}

int sm_opt_parse(const struct sm_opt *opts, int argc, char **argv, size_t stop_at, char **pos,
		 size_t *npos, struct sm_err *err)
{
	bool flags = true;
	int r;

	*npos = 0;
	for (int i = 1; i < argc; i++) {
		if (*npos >= stop_at)
			flags = false;
		if (!flags || argv[i][0] != '-' || !argv[i][1]) {
			pos[(*npos)++] = argv[i];
		} else if (!strcmp(argv[i], "--")) {
			flags = false;
		} else {
			r = parse_flag(opts, argc, argv, &i, err);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

int sm_opt_parse_only(const struct sm_opt *opts, int argc, char **argv, struct sm_err *err)
{
	sm_auto_free char **pos = calloc((size_t)argc + 1, sizeof(*pos));
	size_t npos;
	int r = pos ? sm_opt_parse(opts, argc, argv, SIZE_MAX, pos, &npos, err) :
		      sm_err_sys(err, -ENOMEM, "command line");

	if (r == 0 && npos)
		r = sm_err_set(err, -EINVAL, "unexpected argument \"%s\"", pos[0]);
	return r;
}

/* "--bundle DIR, -b DIR"; returns its width. */
static int print_names(const struct sm_opt *o, FILE *out)
{
	const char *sp = o->arg ? " " : "";
	const char *arg = o->arg ? o->arg : "";
	char text[128];
	int n;

	if (o->letter)
		n = snprintf(text, sizeof(text), "--%s%s%s, -%c%s%s", o->name, sp, arg, o->letter,
			     sp, arg);
	else
		n = snprintf(text, sizeof(text), "--%s%s%s", o->name, sp, arg);
	if (out)
		fprintf(out, "%s", text);
	return n;
}

void sm_opt_help(const struct sm_opt *opts, FILE *out)
{
	int width = 0;
	int n;

	for (const struct sm_opt *o = opts; o->name; o++) {
		n = o->help ? print_names(o, NULL) : 0;
		if (n > width)
			width = n;
	}
	if (!width)
		return;
	fprintf(out, "OPTIONS:\n");
	for (const struct sm_opt *o = opts; o->name; o++) {
		if (!o->help)
			continue;
		fprintf(out, "   ");
		n = print_names(o, out);
		fprintf(out, "%*s%s\n", width - n + 2, "", o->help);
	}
}
