select * from clicks
select clicks.* exclude (geo, tags) from clicks
select Usr, PAGE as Page, c.n from clicks as c where C.n > 0 and page is not null
select n + 1 as m, m * 2 as k from clicks where m > 3
select a, b from (select usr as a, n as b from clicks) t where b > 2
select x.a from clicks as x(a) where a is not null
with big as (select * from clicks where n > 2), few(who) as (select usr from big) select who from few
select usr, n from clicks union all select usr, age from users
select usr from clicks union select usr from users
select distinct usr, n > 2 as big from clicks
select usr from clicks where not (n > 2 and ok)
select usr from clicks where n not in (3, null)
