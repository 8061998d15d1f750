select c.usr, u.usr as other, c.n, u.age from clicks c join users u on c.usr = u.usr
select c.usr, u.usr as other, c.n, u.age from clicks c left join users u on c.usr = u.usr
select c.usr, u.usr as other, c.n, u.age from clicks c right join users u on c.usr = u.usr
select c.usr, u.usr as other, c.n, u.age from clicks c full join users u on c.usr = u.usr
select usr, n, age from clicks join users using (usr)
select usr, n, age from clicks left join users using (usr)
select usr, n, age from clicks full outer join users using (usr)
select c.usr as a, u.usr as b from clicks c full join users u using (usr)
select * exclude (geo) from clicks c semi join users u on c.usr = u.usr
select usr, n from clicks c anti join users u on c.usr = u.usr
select usr, n from clicks c anti join users u on c.usr = u.usr and u.age > 41
select c.n, u.age from clicks c join users u on c.small = u.age - 38 and c.n > -100
select c.n, u.age from clicks c left join users u on c.n + 4 = u.age and u.usr = 'eve'
select c.n, u.age from clicks c join users u on upper(u.usr) = upper(c.usr) and u.age > c.n * 10
select a.n, b.n as m from clicks a join clicks b on a.usr = b.usr where a.n < b.n
select c.usr, sum(c.n) as t, max(u.age) as m from clicks c join users u on c.usr = u.usr group by c.usr
select a.usr, t, age from (select usr, sum(n) as t from clicks group by usr) a left join users u on a.usr = u.usr
select c.usr, u.age, d.day from clicks c join users u on c.usr = u.usr join clicks d on u.usr = d.usr and d.n = c.n
select usr, n from clicks where n = (select max(n) from clicks)
select usr, n from clicks where n > (select avg(n) from clicks) / 2 and n < (select max(n) from clicks)
select usr, n from clicks where usr in (select usr from users where age > 10) and n > 0
